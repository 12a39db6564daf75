"""One rank of several that sample together: `python rank.py RANK RANKS FOLDER`.

Its jobs are in `FOLDER/jobs.json`. It writes what each job did to `FOLDER/RANK.json`, after every job, so
that a job that hangs or fails leaves those before it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
for folder in ("tests/support", "tests/tiny", "tests/distributed"):
    sys.path.insert(0, str(ROOT / folder))
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules.setdefault("sencache", package)

import torch  # noqa: E402 - the folders have just been put on the path
import torch.distributed  # noqa: E402
from comfy_host import start_host  # noqa: E402

PATIENCE = timedelta(seconds=20)  # for the others, before a rank gives up


def rounding_otherwise(model: Any) -> Any:
    """Return a clone whose outputs are rounded once more: another card's differ in their last bits."""
    import comfy.patcher_extension

    def network(executor: Any, *args: Any, **kwargs: Any) -> Any:
        return executor(*args, **kwargs) * 3 / 3

    clone = model.clone()
    wrapper_type = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    clone.add_wrapper_with_key(wrapper_type, "another_card", network)
    return clone


def unable(model: Any) -> None:
    """Take this rank's table away: its run can't begin."""
    import comfy.patcher_extension
    from sencache.calibration.table import TableError

    def find(*args: Any, **kwargs: Any) -> Any:
        raise TableError("there is no table here")

    wrapper_type = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
    (wrapper,) = model.wrappers[wrapper_type]["sencache"]
    source = SimpleNamespace(find=find, measures=False)
    model.wrappers[wrapper_type]["sencache"] = [replace(wrapper.__self__, source=source).outer_sample]


def run(nodes: Any, rank: int, job: dict[str, Any]) -> dict[str, Any]:
    """Sample as a job says, and return what was decided and where it ended."""
    from host_inputs import conditioning, empty_latent, patch_inputs
    from sencache.nodes.host import ranks as our_ranks
    from sencache.nodes.model_patch import SenCacheModelPatch
    from split_sequence import split

    model = nodes.NODE_CLASS_MAPPINGS["UNETLoader"]().load_unet("tiny_wan.safetensors", "default")[0]
    model = split(model) if job.get("split") else model
    model = rounding_otherwise(model) if job.get("another_card") and rank else model
    model = SenCacheModelPatch.execute(model, **patch_inputs(**job["patch"])).args[0]
    if job.get("unable") == rank:
        unable(model)
    asked: list[bool] = []
    found = our_ranks.Ranks.find
    reduce = torch.distributed.all_reduce

    def counted(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        asked.append(bool(tensor.item()))
        return reduce(tensor, *args, **kwargs)

    torch.distributed.all_reduce = counted
    if not job.get("agree", True):
        our_ranks.Ranks.find = classmethod(lambda cls: None)
    try:
        latent = nodes.NODE_CLASS_MAPPINGS["KSampler"]().sample(
            model, job.get("seed", 1) + (rank if job.get("own_latents") else 0), job.get("steps", 12), 5.0,
            job.get("sampler", "euler"), "simple", conditioning(2), conditioning(0), empty_latent(),
        )[0]["samples"]  # fmt: skip
    finally:
        our_ranks.Ranks.find = found
        torch.distributed.all_reduce = reduce
    record = model.get_attachment("sencache").records[-1]
    decisions = [one.decision for one in record.evaluations]
    return {
        "decisions": "".join("r" if one.reuse else "c" for one in decisions),
        "reasons": [one.reason.value for one in decisions],
        "scores": [one.score for one in decisions],
        "limits": [one.limit for one in decisions],
        "asked": len(asked),
        "notes": [note.code for note in record.notes],
        "latent": hashlib.sha256(latent.numpy().tobytes()).hexdigest(),
        "finite": bool(torch.isfinite(latent).all()),
    }


def main() -> None:
    """Do the jobs in turn."""
    rank, count, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    nodes = start_host(folder / f"comfy{rank}")
    from sencache.nodes.tables.files import register_folders

    register_folders()
    if count > 1:
        meeting = (folder / "meeting").as_uri()
        torch.distributed.init_process_group(
            "gloo", init_method=meeting, rank=rank, world_size=count, timeout=PATIENCE
        )
    done: dict[str, Any] = {}
    for job in json.loads((folder / "jobs.json").read_text()):
        try:
            with torch.inference_mode():
                done[job["name"]] = run(nodes, rank, job)
        except Exception as error:  # the test reads what became of it
            done[job["name"]] = {"error": f"{type(error).__name__}: {error}"}
        (folder / f"{rank}.json").write_text(json.dumps(done))
        if "error" in done[job["name"]] and "unable" not in job:
            break  # whoever left a group's call unanswered has no group any more


if __name__ == "__main__":
    main()
