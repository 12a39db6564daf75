"""Writes the GPU benchmark's page from its results."""

from __future__ import annotations

from typing import Any

COLUMNS = (
    "| run | computed | seconds | computed step, s | reused step, ms | time / evaluations "
    "| peak memory, MiB | left behind, MiB |"
)


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return "" if value is None else format(factor * value, form)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _row(name: str, run: dict[str, Any], reference: dict[str, Any] | None) -> str:
    if run["error"]:
        return f"| {name} | {run['error']} | | | | | | |"
    against = ""
    if reference is not None and reference["seconds"] and run["nfe"]:
        share = run["nfe"] / reference["nfe"] if reference["nfe"] else 1.0
        against = f"{run['seconds'] / reference['seconds'] / share:.3f}"
    return (
        f"| {name} | {run['nfe']} of {run['steps']} | {run['seconds']:.2f} "
        f"| {_number(run['computed_seconds'], '.3f')} | {_number(run['reused_seconds'], '.2f', 1000)} "
        f"| {against} | {run['peak']:.0f} | {run['left']:.1f} |"
    )


def _reference(name: str, runs: dict[str, Any]) -> dict[str, Any] | None:
    prefix = name.partition(": ")[0] + ": " if ": " in name else ""
    return runs.get(f"{prefix}unpatched")


def page(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# On a GPU",
        "",
        f"Regenerate with `python tests/benchmarks/gpu.py`. Machine: {results['machine']}.",
        "",
        "Random weights made on the device, bfloat16, guided (cfg 5), Euler: seconds and memory don't depend",
        "on what the weights say, and nothing here is about quality. *Time / evaluations* is a run's share",
        "of the unpatched run's seconds over its share of computed evaluations: 1 where reuse costs nothing.",
        "A plan is made once a run, in under 0.1 seconds, which shows in runs of few seconds. Memory counts",
        "from what the loaded model holds; what is *left behind* is there after the run.",
    ]
    for name, model in results["models"].items():
        shape = "x".join(map(str, model["latent"]))
        lines += ["", f"## {name}", ""]
        if "parameters" in model:
            lines += [f"{model['parameters'] / 1e9:.2f} billion parameters, latent {shape}.", ""]
        lines += [COLUMNS, "|---" * 8 + "|"]
        runs = model["runs"]
        lines += [_row(one, run, _reference(one, runs)) for one, run in runs.items()]
        if "identical" in runs.get("measuring", {}):
            same = "is" if runs["measuring"]["identical"] else "**is not**"
            lines += ["", f"The measuring run's latent {same} the unpatched one's, bit for bit."]
        if "small" in model:
            lines += ["", "| small latent, 12 steps | computed | device waits | same bits as unpatched |"]
            lines += ["|---" * 4 + "|"]
            lines += [
                f"| {one} | {run['nfe']} | {run['synchronisations']} | {_yes(run['identical'])} |"
                for one, run in model["small"].items()
            ]
        if model["left_out"]:
            lines += ["", f"Left out for time: {', '.join(model['left_out'])}."]
    return "\n".join(lines) + "\n"
