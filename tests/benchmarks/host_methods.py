"""Our pack, and the authors' reuse of block residuals driven by our paper rule, on a model in ComfyUI."""

from __future__ import annotations

from typing import Any

import comfy.patcher_extension
from peers import BlockResidual
from sencache.caching.config import SenCacheConfig
from sencache.caching.run import SamplingRun
from sencache.nodes.automatic import Chosen
from sencache.nodes.host.prepare import prepare
from sencache.nodes.host.wrappers import Patch
from sencache.nodes.tables.choice import file_choice
from tiny_models import TinyModel


def sencache(model: Any, tiny: TinyModel, **settings: Any) -> tuple[Any, Patch]:
    """Patch a model with the shipped table of its own."""
    patch = Patch(SenCacheConfig(**settings), Chosen(file_choice(f"{tiny.name}.safetensors")))
    return patch.apply(model), patch


def paper_residual(model: Any, tiny: TinyModel, **settings: Any) -> Any:
    """Decide by the paper's rule and reuse the block stack's residual, as the authors' code does."""
    residual = BlockResidual()
    patched = residual.apply(model)
    config = SenCacheConfig(rule="paper", forecast="hold", **settings)
    source = Chosen(file_choice(f"{tiny.name}.safetensors"))
    sampling = patched.get_model_object("model_sampling")
    runs: list[SamplingRun] = []

    def outer(
        executor: Any, noise: Any, latent: Any, sampler: Any, sigmas: Any, *args: Any, **kwargs: Any
    ) -> Any:
        prepared, _ = prepare(config, source, executor.class_obj, sampler, sigmas)
        runs.append(SamplingRun(prepared.policy))
        try:
            return executor(noise, latent, sampler, sigmas, *args, **kwargs)
        finally:
            runs.pop().finish()

    def predict(executor: Any, x: Any, sigma: Any, *args: Any, **kwargs: Any) -> Any:
        given = sampling.calculate_input(sigma, x), sigma, sampling.timestep(sigma)
        residual.reuse = runs[-1].begin(*given).reuse
        return executor(x, sigma, *args, **kwargs)

    types = comfy.patcher_extension.WrappersMP
    patched.add_wrapper_with_key(types.OUTER_SAMPLE, "residual", outer)
    patched.add_wrapper_with_key(types.PREDICT_NOISE, "residual", predict)
    return patched
