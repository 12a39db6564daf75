"""A Ray actor with raylight's two runner methods: a rank of a group, with a model of ComfyUI's."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

SUPPORT = Path(__file__).resolve().parent.parent


class Worker:
    """Holds a model like raylight's RayWorker, and samples it as XFuserKSampler does: from given noise."""

    def __init__(self, rank: int, ranks: int, meeting: str, base: str) -> None:
        import torch.distributed

        sys.path[:0] = [str(SUPPORT / "support"), str(SUPPORT / "tiny"), str(SUPPORT / "distributed")]
        from comfy_host import start_host

        torch.set_num_threads(1)
        self.nodes = start_host(Path(base))
        self.model: Any = None
        self.apart = False
        if ranks > 1:
            patience = timedelta(seconds=60)
            torch.distributed.init_process_group(
                "gloo", init_method=meeting, rank=rank, world_size=ranks, timeout=patience
            )

    def load(self, split: bool) -> None:
        """Load the tiny Wan, split over the group's ranks or not; a model from before is dropped."""
        loader = self.nodes.NODE_CLASS_MAPPINGS["UNETLoader"]()
        self.model = loader.load_unet("tiny_wan.safetensors", "default")[0]
        if split:
            from split_sequence import split as split_over_ranks

            self.model = split_over_ranks(self.model)

    def get_parallel_dict(self) -> dict[str, Any]:
        """Tell how the workers share the work, as raylight's does."""
        return {"is_xdit": not self.apart, "is_fsdp": False}

    def sample_apart(self, apart: bool) -> None:
        """Say from now on that each worker samples a video of its own, or that they share one."""
        self.apart = apart

    def model_function_runner(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Let a function of the model take its place, as raylight's worker does."""
        self.model = fn(self.model, *args, **kwargs)

    def model_function_runner_get_values(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return a function's value of the model, as raylight's worker does."""
        return fn(self.model, *args, **kwargs)

    def sample(self, steps: int, seed: int, conds: tuple[Any, Any], latent: Any) -> tuple[str, bool]:
        """Sample; return the hash of the finished latent, and whether the model is patched."""
        import torch

        with torch.inference_mode():
            found = self.nodes.NODE_CLASS_MAPPINGS["KSampler"]().sample(
                self.model, seed, steps, 5.0, "euler", "simple", *conds, latent
            )[0]["samples"]
        patched = any("sencache" in of_type for of_type in self.model.wrappers.values() if of_type)
        return hashlib.sha256(found.numpy().tobytes()).hexdigest(), patched

    def measures(self, able: bool) -> None:
        """Let this worker's measuring fail at a run's end, or work again."""
        import importlib

        kind = importlib.import_module("sencache_in_worker.nodes.host.measuring").Measuring
        self.table = getattr(self, "table", kind.table)

        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("this card has failed to measure")

        kind.table = self.table if able else refuse

    def modules(self) -> list[str]:
        """Return the names of this process's own and our modules."""
        return [name for name in sys.modules if name.split(".")[0].startswith("sencache") or name == "server"]
