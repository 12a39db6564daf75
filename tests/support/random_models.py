"""Tiny networks of further architectures: ComfyUI's own classes with seeded random weights.

Nothing here is trained, so their videos are noise; what they show is that a model of that architecture is
calibrated, patched, sampled and reported like any other. Older hosts lack some: `available` tells.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

TEXT, TOKENS = 64, 6
WAN = {"image_model": "wan2.1", "dim": 128, "ffn_dim": 256, "num_heads": 1, "num_layers": 2, "text_dim": TEXT}


def _seeded(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True, slots=True)
class Architecture:
    """One architecture: the host's class for its settings, a tiny network, its latents and its conditioning.

    `latent_shapes` holds one shape, or one per stream. `extras(seed)` gives what the conditioning holds
    besides the prompt, and `masked` says that the first frame is given (image to video).
    """

    name: str
    config_class: str
    network: dict[str, Any]
    latent_shapes: tuple[tuple[int, ...], ...]
    text: int = TEXT
    extras: Callable[[int], dict[str, Any]] = field(default=lambda seed: {})
    masked: bool = False
    sampler: str = "euler"

    def available(self) -> bool:
        """Whether this host has the architecture."""
        import comfy.supported_models

        return hasattr(comfy.supported_models, self.config_class)

    def build(
        self,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        computed_in: torch.dtype | None = None,
    ) -> Any:
        """Build the network with random weights; return a ModelPatcher that offloads to the CPU.

        `computed_in` is what the weights are cast to when they are used, None for their own `dtype`.
        """
        import comfy.model_patcher
        import comfy.supported_models

        config = getattr(comfy.supported_models, self.config_class)(self._known())
        config.set_inference_dtype(dtype, computed_in)
        where, cpu = torch.device(device), torch.device("cpu")
        model = config.get_model({}, "", device=where)
        _fill(model.diffusion_model, seed)
        return comfy.model_patcher.ModelPatcher(model, load_device=where, offload_device=cpu)

    def _known(self) -> dict[str, Any]:
        """Return the network's settings without those that only newer hosts know, which are off here."""
        names = {"hunyuan_video": "HunyuanVideoParams", "flux": "FluxParams"}
        kind = self.network.get("image_model")
        if kind not in names:
            return dict(self.network)
        module = importlib.import_module(f"comfy.ldm.{kind}.model")
        known = {one.name for one in dataclasses.fields(getattr(module, names[kind]))}
        kept = known | {"image_model"}
        return {name: value for name, value in self.network.items() if name in kept}

    def conditioning(self, prompt: int, tokens: int = TOKENS) -> list:
        """Return a random prompt's conditioning."""
        pooled = {"pooled_output": _seeded((1, TEXT), prompt + 50)}
        return [[_seeded((1, tokens, self.text), prompt), {**pooled, **self.extras(prompt)}]]

    def latent(self) -> dict[str, Any]:
        """Return an empty latent, with the first frame masked where the image is given."""
        parts = [torch.zeros(shape) for shape in self.latent_shapes]
        masks = [torch.ones(1, 1, *shape[2:]) for shape in self.latent_shapes]
        if self.masked:
            masks[0][:, :, 0] = 0.0
            parts[0][:, :, :1] = _seeded(tuple(parts[0][:, :, :1].shape), 7)
        given = [("samples", parts), ("noise_mask", masks)] if self.masked else [("samples", parts)]
        return {name: _together(tensors) for name, tensors in given}


def _together(streams: list[Tensor]) -> Any:
    """Return one stream as it is, several as the host's nested tensor."""
    if len(streams) == 1:
        return streams[0]
    import comfy.nested_tensor

    return comfy.nested_tensor.NestedTensor(streams)


def _fill(network: torch.nn.Module, seed: int) -> None:
    """Give every parameter a seeded random value: matrices keep a signal's size, norms pass it through.

    What time does to a random network is made small, since trained ones change slowly with it.
    """
    device = next(network.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(network.named_parameters()):
            value = torch.randn(parameter.shape, generator=generator, device=device)
            if parameter.ndim < 2:
                value = torch.zeros_like(value) if name.endswith("bias") else torch.ones_like(value)
            else:
                value /= math.sqrt(parameter[0].numel())
            if any(part in name for part in ("time", "t_embed", "adaln", "vector_in", "guidance_in")):
                value *= 0.3
            parameter.copy_(value)
        for name, buffer in network.named_buffers():
            if name.endswith("inv_freq"):
                buffer.copy_(10000.0 ** -torch.linspace(0, 1, len(buffer)))


def _given_image(channels: int, frames: int, size: int) -> Callable[[int], dict[str, Any]]:
    def extras(seed: int) -> dict[str, Any]:
        mask = torch.ones(1, 1, frames, size, size)
        mask[:, :, 0] = 0.0
        image = _seeded((1, channels, frames, size, size), 11)
        return {"concat_latent_image": image, "concat_mask": mask}

    return extras


def _first_frame(seed: int) -> dict[str, Any]:
    return {"concat_latent_image": _seeded((1, 4, 8, 8), 11), "motion_bucket_id": 100 + seed}


def _vace(seed: int) -> dict[str, Any]:
    return {
        "vace_frames": [_seeded((1, 32, 3, 8, 8), 12)],
        "vace_mask": [torch.ones(1, 64, 3, 8, 8)],
        "vace_strength": [1.0],
    }


def _tokens_mask(seed: int) -> dict[str, Any]:
    return {"attention_mask": torch.ones(1, TOKENS, dtype=torch.int64)}


_LTXV = {
    "cross_attention_dim": 64,
    "attention_head_dim": 16,
    "num_attention_heads": 4,
    "caption_channels": TEXT,
    "num_layers": 2,
}
_LTXAV = {
    "image_model": "ltxav",
    **_LTXV,
    "audio_cross_attention_dim": 32,
    "audio_attention_head_dim": 8,
    "audio_num_attention_heads": 4,
    "connector_attention_head_dim": 16,
    "connector_num_attention_heads": 4,
    "connector_num_layers": 1,
}
_HUNYUAN = {
    "image_model": "hunyuan_video", "in_channels": 16, "out_channels": 16, "vec_in_dim": TEXT,
    "context_in_dim": TEXT, "hidden_size": 128, "mlp_ratio": 2.0, "num_heads": 4, "depth": 1,
    "depth_single_blocks": 1, "axes_dim": [8, 12, 12], "theta": 256, "patch_size": [1, 2, 2],
    "qkv_bias": True, "guidance_embed": True, "byt5": False, "meanflow": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None, "meanflow_sum": False,
}  # fmt: skip
_MOCHI = {
    "image_model": "mochi_preview", "depth": 2, "patch_size": 2, "num_heads": 4, "hidden_size_x": 128,
    "hidden_size_y": 64, "mlp_ratio_x": 96.0, "mlp_ratio_y": 2.0, "learn_sigma": False, "in_channels": 12,
    "qk_norm": True, "qkv_bias": False, "out_bias": True, "attn_drop": 0.0, "patch_embed_bias": True,
    "posenc_preserve_area": True, "timestep_mlp_bias": True, "attend_to_padding": False,
    "timestep_scale": 1000.0, "use_t5": True, "t5_feat_dim": TEXT, "t5_token_length": TOKENS,
    "rope_theta": 10000.0,
}  # fmt: skip
_COSMOS = {
    "image_model": "cosmos", "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16,
    "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1, "concat_padding_mask": True,
    "model_channels": 128, "num_blocks": 2, "num_heads": 2, "mlp_ratio": 2.0, "block_config": "FA-CA-MLP",
    "block_x_format": "THWBD", "crossattn_emb_channels": TEXT, "pos_emb_cls": "rope3d",
    "affline_emb_norm": True, "use_adaln_lora": True, "adaln_lora_dim": 32, "rope_h_extrapolation_ratio": 1.0,
    "rope_w_extrapolation_ratio": 1.0, "rope_t_extrapolation_ratio": 2.0, "extra_per_block_abs_pos_emb": True,
    "extra_per_block_abs_pos_emb_type": "learnable",
}  # fmt: skip
_PREDICT2 = {
    "image_model": "cosmos_predict2", "max_img_h": 240, "max_img_w": 240, "max_frames": 128,
    "in_channels": 17, "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1,
    "model_channels": 128, "num_blocks": 2,
    "num_heads": 2, "mlp_ratio": 2.0, "concat_padding_mask": True, "crossattn_emb_channels": TEXT,
    "pos_emb_cls": "rope3d", "use_adaln_lora": True, "adaln_lora_dim": 32,
}  # fmt: skip
_KANDINSKY = {
    "image_model": "kandinsky5", "model_dim": 128, "ff_dim": 256, "visual_embed_dim": 132,
    "in_text_dim": TEXT, "in_text_dim2": TEXT, "time_dim": 64, "num_text_blocks": 1, "num_visual_blocks": 2,
    "axes_dims": (8, 12, 12),
}  # fmt: skip
_MINIMAX = {
    "image_model": "minimax_h3", "hidden_size": 128, "num_layers": 2, "token_refiner_num_layers": 1,
    "num_attention_heads": 2, "attention_head_dim": 96, "ffn_hidden_size": 128, "text_dim": TEXT,
    "time_embed_hidden_size": 64, "time_embed_dim": 64,
}  # fmt: skip
_FLUX = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "patch_size": 2, "vec_in_dim": TEXT,
    "context_in_dim": TEXT, "hidden_size": 128, "mlp_ratio": 2.0, "num_heads": 4, "depth": 1,
    "depth_single_blocks": 1, "axes_dim": [8, 12, 12], "theta": 10000, "qkv_bias": True,
    "guidance_embed": True, "txt_ids_dims": [],
}  # fmt: skip
_QWEN = {
    "image_model": "qwen_image", "num_layers": 2, "attention_head_dim": 32, "num_attention_heads": 4,
    "joint_attention_dim": TEXT, "axes_dims_rope": (8, 12, 12),
}  # fmt: skip
_COGVIDEOX = {
    "image_model": "cogvideox", "num_attention_heads": 2, "attention_head_dim": 64, "text_embed_dim": TEXT,
    "time_embed_dim": 64, "num_layers": 2, "max_text_seq_length": TOKENS, "patch_size_t": 2,
    "use_rotary_positional_embeddings": True, "patch_bias": False,
}  # fmt: skip
_SVD = {
    "model_channels": 64, "in_channels": 8, "out_channels": 4, "num_res_blocks": [1, 1],
    "channel_mult": [1, 2], "transformer_depth": [1, 1], "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1, "use_spatial_transformer": True, "use_linear_in_transformer": True,
    "context_dim": TEXT, "adm_in_channels": 768, "num_classes": "sequential", "legacy": False,
    "image_size": 8, "use_temporal_attention": True, "use_temporal_resblock": True,
    "video_kernel_size": [3, 1, 1], "extra_ff_mix_layer": True,
    "merge_strategy": "learned_with_images", "merge_factor": 0.0,
}  # fmt: skip
_VIDEO = ((1, 16, 3, 8, 8),)

ARCHITECTURES = (
    Architecture("Wan 2.1 T2V", "WAN21_T2V", {**WAN, "model_type": "t2v"}, _VIDEO),
    Architecture(
        "Wan 2.1 I2V", "WAN21_I2V", {**WAN, "model_type": "i2v", "in_dim": 36}, _VIDEO,
        extras=_given_image(16, 3, 8),
    ),
    Architecture(
        "Wan 2.1 VACE", "WAN21_Vace",
        {**WAN, "model_type": "vace", "vace_layers": 1, "vace_in_dim": 96}, _VIDEO, extras=_vace,
    ),
    Architecture(
        "Wan 2.2 5B, image to video", "WAN22_T2V",
        {**WAN, "model_type": "t2v", "in_dim": 48, "out_dim": 48}, ((1, 48, 3, 8, 8),), masked=True,
    ),
    Architecture(
        "CogVideoX 1.5", "CogVideoX_T2V", _COGVIDEOX, ((1, 16, 4, 8, 8),), sampler="void",
    ),
    Architecture(
        "CogVideoX 1.5 I2V", "CogVideoX_I2V", {**_COGVIDEOX, "in_channels": 32, "ofs_embed_dim": 64},
        ((1, 16, 4, 8, 8),), extras=_given_image(16, 4, 8), sampler="void",
    ),
    Architecture(
        "LTX-Video, image to video", "LTXV", {"image_model": "ltxv", **_LTXV}, ((1, 128, 3, 4, 4),),
        extras=_tokens_mask, masked=True,
    ),
    Architecture(
        "LTX-2 audio and video", "LTXAV", _LTXAV, ((1, 128, 3, 4, 4), (1, 8, 5, 16)), text=2 * TEXT,
    ),
    Architecture(
        "LTX-2 audio and video, image to video", "LTXAV", _LTXAV, ((1, 128, 3, 4, 4), (1, 8, 5, 16)),
        text=2 * TEXT, masked=True,
    ),
    Architecture("HunyuanVideo", "HunyuanVideo", _HUNYUAN, _VIDEO),
    Architecture("Mochi", "GenmoMochi", _MOCHI, ((1, 12, 3, 8, 8),), extras=_tokens_mask),
    Architecture("Cosmos", "CosmosT2V", _COSMOS, _VIDEO),
    Architecture("Cosmos Predict2 I2V", "CosmosI2VPredict2", _PREDICT2, _VIDEO, masked=True),
    Architecture("Kandinsky 5", "Kandinsky5", _KANDINSKY, _VIDEO),
    Architecture("MiniMax H3", "MiniMaxH3", _MINIMAX, ((1, 24, 3, 8, 8), (1, 32, 2, 5))),
    Architecture("Stable Video Diffusion", "SVD_img2vid", _SVD, ((4, 4, 8, 8),), extras=_first_frame),
    Architecture("Flux", "Flux", _FLUX, ((1, 16, 8, 8),)),
    Architecture("Qwen-Image", "QwenImage", _QWEN, ((1, 16, 1, 8, 8),)),
)  # fmt: skip
