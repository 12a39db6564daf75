"""What the host and other nodes do with a model: LoRAs, shifts, dtypes, memory, compiling, devices."""

from __future__ import annotations

from typing import Any

import torch
import two_devices
from architectures import calibrated
from architectures import sample as sample_architecture
from comfy_host import DEMO_MODEL
from conditioning import hooked, lora
from host_inputs import conditioning
from judge import Case, HostLacksError, Scene, replaced
from random_models import ARCHITECTURES
from scenes import CFG, changed_after, changed_first, ksample, node, on_wan, wan
from torch import Tensor

LORAS, SHIFT, MEMORY = "LoRAs and merges", "Shift", "Weights, memory and devices"
FILE = str(DEMO_MODEL)
TWO_DEVICES = "MultiGPU CFG Split (one CPU as two devices)"


def with_lora(nodes: Any, model: Any) -> Any:
    """Put a LoRA on a model as the LoRA loader nodes do."""
    import comfy.sd

    return comfy.sd.load_lora_for_models(model, None, lora(model), 1.0, 0.0)[0]


def _merged(nodes: Any, model: Any) -> Any:
    return node(nodes, "ModelMergeSimple", model1=model, model2=with_lora(nodes, wan(nodes)), ratio=0.6)


def _shifted(shift: float) -> Any:
    return lambda nodes, model: node(nodes, "ModelSamplingSD3", model=model, shift=shift)


def _typed(name: str, **options: Any) -> Case:
    """Load the weights in another type, as the loader's weight_dtype and --bf16-unet do."""

    def make(nodes: Any) -> Scene:
        import comfy.sd

        model = comfy.sd.load_diffusion_model(FILE, model_options=dict(options))
        return Scene((model,), lambda model: ksample(nodes, model))

    return Case(MEMORY, name, make)


def _low_memory(nodes: Any, model: Any) -> Tensor:
    """Sample with weights that are cast when they are used, as on a card that cannot hold them."""
    import comfy.model_management as management

    load, cast = management.LoadedModel.model_load, []

    def load_little(self: Any, lowvram_model_memory: float = 0, force_patch_weights: bool = False) -> Any:
        loaded = load(self, 0.1, force_patch_weights)
        modules = self.model.model.diffusion_model.modules()
        cast.append(sum(bool(getattr(module, "comfy_cast_weights", False)) for module in modules))
        return loaded

    management.unload_all_models()
    with replaced(management.LoadedModel, "model_load", load_little):
        result = ksample(nodes, with_lora(nodes, model))
    management.unload_all_models()
    if not sum(cast):
        raise HostLacksError("no weights cast on a CPU")
    return result


def _unloaded(nodes: Any, model: Any) -> Tensor:
    import comfy.model_management as management

    first = ksample(nodes, model)
    management.unload_all_models()
    return torch.stack([first, ksample(nodes, model)])


def _compiled(backend: str) -> Any:
    return lambda nodes, model: node(nodes, "TorchCompileModel", model=model, backend=backend)


def _really_compiled(backend: str) -> Any:
    """Compile, and make sure that sampling really runs compiled graphs."""

    def change(nodes: Any, model: Any) -> Any:
        from torch._dynamo.utils import counters

        before = counters["stats"]["unique_graphs"]
        torch._dynamo.reset()
        compiled = _compiled(backend)(nodes, model)
        ksample(nodes, compiled, steps=1)
        if counters["stats"]["unique_graphs"] <= before:
            raise RuntimeError("nothing was compiled")
        return compiled

    return change


def _flux_shifted() -> Case:
    """Make a case of Flux, measured at its own shift and sampled at another."""
    architecture = next(one for one in ARCHITECTURES if one.name == "Flux")

    def make(nodes: Any) -> Scene:
        model = architecture.build()
        table, text = calibrated(nodes, model, architecture)

        def sample(model: Any) -> Tensor:
            inputs = {"max_shift": 3.0, "base_shift": 0.5, "width": 1024, "height": 1024}
            shifted = node(nodes, "ModelSamplingFlux", model=model, **inputs)
            return sample_architecture(nodes, architecture, shifted)

        return Scene((model,), sample, (table,), text)

    return Case(SHIFT, "ModelSamplingFlux 3 after the patch (Flux)", make)


def _in_fp32(nodes: Any, model: Any) -> Any:
    import comfy.sd

    weights = {name: value.float() for name, value in comfy.utils.load_torch_file(FILE).items()}
    return comfy.sd.load_diffusion_model_state_dict(weights, model_options={"dtype": torch.float32})


def _several_devices(nodes: Any, model: Any) -> Any:
    """Let ComfyUI's MultiGPU node give each branch a thread and a network of its own."""
    if not two_devices.is_there(nodes):
        raise HostLacksError("no MultiGPU_WorkUnits")
    return two_devices.split(nodes, model)


def _hook_in_low_memory(nodes: Any, model: Any) -> Tensor:
    import comfy.hooks

    positive = hooked(nodes, model, ((0.0, 0.0), (0.5, 1.0)))
    saving = model.clone()
    saving.hook_mode = comfy.hooks.EnumHookMode.MinVram
    return ksample(nodes, saving, positive=positive)


def _own_function(nodes: Any, model: Any) -> Tensor:
    """Sample with a function around the network, as older extension packs set it."""
    wrapped = model.clone()
    wrapped.set_model_unet_function_wrapper(
        lambda apply, arguments: apply(arguments["input"], arguments["timestep"], **arguments["c"])
    )
    return ksample(nodes, wrapped)


def _custom_sampler(nodes: Any, model: Any) -> Tensor:
    import comfy.samplers

    return node(
        nodes, "SamplerCustom", model=model, add_noise=True, noise_seed=3, cfg=CFG, positive=conditioning(2),
        negative=conditioning(0), sampler=comfy.samplers.sampler_object("dpmpp_2m"),
        sigmas=node(nodes, "BasicScheduler", model=model, scheduler="simple", steps=16, denoise=1.0),
        latent_image={"samples": torch.zeros(1, 16, 4, 8, 8)},
    )["samples"]  # fmt: skip


def cases() -> list[Case]:
    """List what happens to a model before our patch, and between our patch and the sampler."""
    loras = [
        changed_first(LORAS, "LoRA before the patch", with_lora),
        changed_after(LORAS, "LoRA after the patch", with_lora),
        changed_first(LORAS, "two LoRAs", lambda nodes, model: with_lora(nodes, with_lora(nodes, model))),
        changed_first(LORAS, "ModelMergeSimple", _merged),
    ]
    shifts = [
        changed_first(SHIFT, "ModelSamplingSD3 3 before the patch", _shifted(3.0)),
        changed_after(SHIFT, "ModelSamplingSD3 3 after the patch", _shifted(3.0)),
        changed_after(SHIFT, "ModelSamplingSD3 12 after the patch", _shifted(12.0)),
        _flux_shifted(),
    ]
    memory = [
        changed_first(MEMORY, "fp32 weights", _in_fp32),
        _typed("bf16 weights", dtype=torch.bfloat16), _typed("fp16 weights", dtype=torch.float16),
        _typed("fp8_e4m3fn weights", dtype=torch.float8_e4m3fn),
        _typed("fp8_e5m2 weights", dtype=torch.float8_e5m2),
        on_wan(MEMORY, "weights offloaded, with a LoRA", _low_memory),
        on_wan(MEMORY, "models unloaded between two runs", _unloaded),
        on_wan(MEMORY, "hook LoRA in MinVram mode", _hook_in_low_memory),
        changed_first(MEMORY, f"{TWO_DEVICES} before the patch", _several_devices),
        changed_after(MEMORY, f"{TWO_DEVICES} after the patch", _several_devices),
        on_wan(MEMORY, "model_function_wrapper of another pack", _own_function),
        on_wan(MEMORY, "SamplerCustom", _custom_sampler),
    ]  # fmt: skip
    for backend in ("eager", "inductor"):
        name = f"TorchCompileModel ({backend})"
        memory += [
            changed_first(MEMORY, f"{name} before the patch", _really_compiled(backend)),
            changed_after(MEMORY, f"{name} after the patch", _compiled(backend)),
        ]
    return loras + shifts + memory
