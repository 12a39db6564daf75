"""The example workflows of the models that people use; each measures its model on the first queue."""

from __future__ import annotations

from examples_demo import Example, Nodes, comparison, patch_node, tiny

SCENE = "a red fox trots through fresh snow at dawn, film look"
BAD = "blurry, static, low quality, subtitles"
MEASURE = (
    "**The first queue measures the model**, exactly and for nothing, and is not faster; the next ones are. "
    "Then move the speed slider in SenCache Model Patch: it says before a run what to expect."
)


def _texts(nodes: Nodes, clip: tuple) -> None:
    for name, text in (("prompt", SCENE), ("negative", BAD)):
        nodes.add(name, "CLIPTextEncode", clip=clip, text=text)


def _ending(nodes: Nodes, patch: str, samples: tuple, vae: tuple, fps: float) -> None:
    nodes.add("stats", "SenCacheStats", model=(patch, 0), samples=samples)
    nodes.add("decode", "VAEDecode", samples=("stats", 0), vae=vae)
    nodes.add(
        "save",
        "SaveAnimatedWEBP",
        images=("decode", 0),
        filename_prefix="SenCache",
        fps=fps,
        lossless=False,
        quality=85,
        method="default",
    )


def wan21() -> Example:
    """Wan 2.1 text to video."""
    nodes = Nodes()
    nodes.add("loader", "UNETLoader", unet_name="wan2.1_t2v_1.3B_fp16.safetensors", weight_dtype="default")
    nodes.add("clip", "CLIPLoader", clip_name="umt5_xxl_fp8_e4m3fn_scaled.safetensors", type="wan")
    nodes.add("vae", "VAELoader", vae_name="wan_2.1_vae.safetensors")
    nodes.add("shift", "ModelSamplingSD3", model=("loader", 0), shift=8.0)
    _texts(nodes, ("clip", 0))
    size = {"batch_size": 1, "length": 33}
    nodes.add("latent", "EmptyHunyuanLatentVideo", width=832, height=480, **size)
    patch_node(nodes, "patch", ("shift", 0))
    nodes.add(
        "sampler",
        "KSampler",
        model=("patch", 0),
        positive=("prompt", 0),
        negative=("negative", 0),
        latent_image=("latent", 0),
        seed=42,
        steps=30,
        cfg=6.0,
        sampler_name="uni_pc",
        scheduler="simple",
        denoise=1.0,
    )
    _ending(nodes, "patch", ("sampler", 0), ("vae", 0), 16.0)
    columns = [
        ["loader", "clip", "vae", "note"],
        ["shift", "prompt", "negative"],
        ["patch"],
        ["latent", "sampler"],
        ["stats", "decode", "save"],
    ]
    return Example("3 Wan 2.1", MEASURE, nodes.prompt, columns)


def wan22() -> Example:
    """Wan 2.2: each expert has its own patch, and finds its own table."""
    nodes = Nodes()
    nodes.add("clip", "CLIPLoader", clip_name="umt5_xxl_fp8_e4m3fn_scaled.safetensors", type="wan")
    nodes.add("vae", "VAELoader", vae_name="wan_2.1_vae.safetensors")
    _texts(nodes, ("clip", 0))
    nodes.add("latent", "EmptyHunyuanLatentVideo", width=832, height=480, length=49, batch_size=1)
    previous = ("latent", 0)
    for expert, start, end, first in (("high", 0, 15, True), ("low", 15, 10000, False)):
        file = f"wan2.2_t2v_{expert}_noise_14B_fp8_scaled.safetensors"
        nodes.add(f"{expert} loader", "UNETLoader", unet_name=file, weight_dtype="default")
        nodes.add(f"{expert} shift", "ModelSamplingSD3", model=(f"{expert} loader", 0), shift=8.0)
        patch_node(nodes, f"{expert} patch", (f"{expert} shift", 0))
        nodes.add(
            f"{expert} sampler",
            "KSamplerAdvanced",
            model=(f"{expert} patch", 0),
            positive=("prompt", 0),
            negative=("negative", 0),
            latent_image=previous,
            noise_seed=42,
            steps=30,
            cfg=3.5,
            sampler_name="euler",
            scheduler="simple",
            start_at_step=start,
            end_at_step=end,
            add_noise="enable" if first else "disable",
            return_with_leftover_noise="enable" if first else "disable",
        )
        previous = (f"{expert} sampler", 0)
    _ending(nodes, "low patch", previous, ("vae", 0), 16.0)
    nodes.add("high stats", "SenCacheStats", model=("high patch", 0), samples=("high sampler", 0))
    nodes.prompt["low sampler"]["inputs"]["latent_image"] = ["high stats", 0]
    note = (
        f"{MEASURE} **Wan 2.2 has two experts: each has its own patch, and finds its own table** by its "
        "weights."
    )
    columns = [
        ["clip", "vae", "high loader", "low loader", "note"],
        ["prompt", "negative", "high shift", "low shift"],
        ["high patch", "low patch"],
        ["latent", "high sampler", "low sampler"],
        ["high stats", "stats", "decode", "save"],
    ]
    return Example("4 Wan 2.2 two experts", note, nodes.prompt, columns)


def ltxv() -> Example:
    """LTX-Video, with its own scheduler."""
    nodes = Nodes()
    nodes.add("loader", "CheckpointLoaderSimple", ckpt_name="ltx-video-2b-v0.9.5.safetensors")
    nodes.add("clip", "CLIPLoader", clip_name="t5xxl_fp16.safetensors", type="ltxv")
    _texts(nodes, ("clip", 0))
    nodes.add(
        "frame rate", "LTXVConditioning", positive=("prompt", 0), negative=("negative", 0), frame_rate=25.0
    )
    nodes.add("latent", "EmptyLTXVLatentVideo", width=768, height=512, length=97, batch_size=1)
    patch_node(nodes, "patch", ("loader", 0))
    nodes.add(
        "sigmas",
        "LTXVScheduler",
        steps=30,
        max_shift=2.05,
        base_shift=0.95,
        stretch=True,
        terminal=0.1,
        latent=("latent", 0),
    )
    nodes.add("euler", "KSamplerSelect", sampler_name="euler")
    nodes.add(
        "sampler",
        "SamplerCustom",
        model=("patch", 0),
        add_noise=True,
        noise_seed=42,
        cfg=3.0,
        positive=("frame rate", 0),
        negative=("frame rate", 1),
        sampler=("euler", 0),
        sigmas=("sigmas", 0),
        latent_image=("latent", 0),
    )
    _ending(nodes, "patch", ("sampler", 0), ("loader", 2), 25.0)
    columns = [
        ["loader", "clip", "note"],
        ["prompt", "negative", "frame rate"],
        ["patch", "euler"],
        ["latent", "sigmas", "sampler"],
        ["stats", "decode", "save"],
    ]
    return Example("5 LTX-Video", MEASURE, nodes.prompt, columns)


def cogvideox() -> Example:
    """CogVideoX, which ComfyUI samples with VOIDSampler."""
    nodes = Nodes()
    nodes.add("loader", "UNETLoader", unet_name="cogvideox_2b_fp16.safetensors", weight_dtype="default")
    nodes.add("clip", "CLIPLoader", clip_name="t5xxl_fp16.safetensors", type="cogvideox")
    nodes.add("vae", "VAELoader", vae_name="cogvideox_vae.safetensors")
    _texts(nodes, ("clip", 0))
    nodes.add("latent", "EmptyHunyuanLatentVideo", width=720, height=480, length=49, batch_size=1)
    nodes.add("void", "VOIDSampler")
    patch_node(nodes, "patch", ("loader", 0))
    nodes.add("noise", "RandomNoise", noise_seed=42)
    nodes.add(
        "guider", "CFGGuider", model=("patch", 0), positive=("prompt", 0), negative=("negative", 0), cfg=6.0
    )
    nodes.add("sigmas", "BasicScheduler", model=("patch", 0), scheduler="simple", steps=50, denoise=1.0)
    nodes.add(
        "sampler",
        "SamplerCustomAdvanced",
        noise=("noise", 0),
        guider=("guider", 0),
        sampler=("void", 0),
        sigmas=("sigmas", 0),
        latent_image=("latent", 0),
    )
    _ending(nodes, "patch", ("sampler", 0), ("vae", 0), 8.0)
    columns = [
        ["loader", "clip", "vae", "note"],
        ["prompt", "negative"],
        ["patch", "void"],
        ["latent", "noise", "guider", "sigmas", "sampler"],
        ["stats", "decode", "save"],
    ]
    return Example("6 CogVideoX", MEASURE, nodes.prompt, columns)


def examples() -> list[Example]:
    """Return all of them."""
    return [tiny(), comparison(), wan21(), wan22(), ltxv(), cogvideox()]
