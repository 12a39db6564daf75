"""ComfyUI-SenCache: reuse the network's output where a measured sensitivity says it hardly changes."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():  # noqa: ANN201 - the host's type is not importable before the host is
    """Return the pack's extension to ComfyUI."""
    from .nodes.extension import SenCacheExtension

    return SenCacheExtension()
