"""The pack's node list; the table folders are registered when ComfyUI asks for it."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io
from server import PromptServer

from .cache_stats import SenCacheStats
from .calibrate import SenCacheCalibrate
from .compare import SenCacheCompare
from .demo import SenCacheDemo, SenCacheDemoFrames
from .model_patch import SenCacheModelPatch
from .panel.routes import add_routes
from .ray.nodes import SenCacheModelPatchRay, SenCacheStatsRay, is_installed
from .tables.files import register_folders


class SenCacheExtension(ComfyExtension):
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Register the table folders (older hosts do not call `on_load`) and return the nodes."""
        register_folders()
        server = getattr(PromptServer, "instance", None)
        if server is not None:
            add_routes(server.routes)
        own = [SenCacheCalibrate, SenCacheModelPatch, SenCacheStats, SenCacheCompare]
        with_ray = [SenCacheModelPatchRay, SenCacheStatsRay] if is_installed() else []
        return [*own, *with_ray, SenCacheDemo, SenCacheDemoFrames]
