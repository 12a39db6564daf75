"""A small picture of a latent, as the host's own previews make it."""

from __future__ import annotations

import base64
import inspect
import io
import logging
from typing import Any

import torch
from latent_preview import Latent2RGBPreviewer
from PIL import Image

logger = logging.getLogger(__name__)

SIDE = 96  # pixels of the longer side


def thumbnail(latent_format: Any, samples: Any) -> str | None:
    """Return the middle frame of a latent `[B, C, (T,) H, W]` as a data address, None where nothing draws it.

    The colours are the host's linear guess at what the decoder makes of the latent. Nothing is raised: the
    sampled video matters more than its small picture.
    """
    try:
        return _drawn(latent_format, samples)
    except Exception:  # another pack's latent may be anything
        logger.debug("SenCache: no thumbnail of this latent.", exc_info=True)
        return None


def _drawn(latent_format: Any, samples: Any) -> str | None:
    factors = getattr(latent_format, "latent_rgb_factors", None)
    if factors is None or not isinstance(samples, torch.Tensor) or samples.is_nested:
        return None
    if samples.ndim not in (4, 5) or samples.shape[1] != len(factors):
        return None
    if samples.ndim != getattr(latent_format, "latent_dimensions", samples.ndim - 2) + 2:
        return None
    middle = samples[:1].detach()
    if middle.ndim == 5:
        middle = middle[:, :, middle.shape[2] // 2 :][:, :, :1]
    middle = middle.float().cpu()
    frame = _previewer(latent_format, factors).decode_latent_to_preview(latent_format.process_in(middle))
    picture = frame if isinstance(frame, Image.Image) else frame[1]
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    written = io.BytesIO()
    picture.resize(size, Image.Resampling.BICUBIC).convert("RGB").save(written, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode()


def _previewer(latent_format: Any, factors: Any) -> Latent2RGBPreviewer:
    """Return the host's previewer; older hosts know no latents that are reshaped for it."""
    given = [factors, getattr(latent_format, "latent_rgb_factors_bias", None)]
    if "latent_rgb_factors_reshape" in inspect.signature(Latent2RGBPreviewer.__init__).parameters:
        given.append(getattr(latent_format, "latent_rgb_factors_reshape", None))
    return Latent2RGBPreviewer(*given)
