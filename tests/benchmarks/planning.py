"""How long planning takes and how much memory it needs: `python tests/benchmarks/planning.py`.

Writes `results/planning.md`: for runs of 50, 200 and 1,000 steps under every rule, the median seconds of
making the policy and expecting every decision, as the panel does, and the peak of memory while doing it. Run
it with nothing beside it; needs no ComfyUI.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "tests" / "tiny")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

from embedded import points, zones  # noqa: E402
from sencache.caching.config import SenCacheConfig  # noqa: E402
from sencache.caching.rules import RULES, policy_for  # noqa: E402
from sencache.caching.simulate import ExpectedRun, simulate  # noqa: E402
from sencache.calibration.table import load  # noqa: E402

STEPS = (50, 200, 1000)
WISHES = (1.1, 2.0, 8.0)
EPSILONS = (1e-6, 0.01)
CFG = 5.0
REPEATS = 5
MIB = 2**20
BARS = {50: 0.05, 1000: 2.0}  # seconds
MEMORY_BAR = 200e6  # bytes
TABLE = load(ROOT / "tables" / "tiny_wan.safetensors")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one question costs: median seconds, peak bytes, and the evaluations that it plans to compute."""

    config: SenCacheConfig
    steps: int
    nfe: int
    seconds: float
    peak: int

    @property
    def asked(self) -> str:
        """The setting that is asked for."""
        config = self.config
        return f"speed-up {config.speed_up:g}" if config.speed_up else f"epsilon {config.epsilon:g}"

    @property
    def too_much(self) -> bool:
        """Whether it misses a bar."""
        return self.seconds > BARS.get(self.steps, 2.0) or self.peak > MEMORY_BAR

    def row(self) -> str:
        """Return it as a row of the page."""
        config, missed = self.config, " (too much)" if self.too_much else ""
        return (
            f"| {config.rule} | {config.forecast} | {self.asked} | {self.steps} | {self.nfe} "
            f"| {1000 * self.seconds:.1f}{missed} | {self.peak / MIB:.1f} |"
        )


def questions() -> Iterator[SenCacheConfig]:
    """Yield the settings that are asked for under every rule; plans with either forecast."""
    for rule in RULES:
        for forecast in ("linear", "hold") if rule == "plan" else ("linear",):
            for speed_up in WISHES:
                yield SenCacheConfig(rule=rule, forecast=forecast, speed_up=speed_up)
            for epsilon in EPSILONS:
                yield SenCacheConfig(rule=rule, forecast=forecast, epsilon=epsilon)


def expected(config: SenCacheConfig, steps: int) -> ExpectedRun:
    """Plan a run and expect every decision of it."""
    at = points(steps, CFG)
    return simulate(policy_for(config, zones(config), TABLE, at), TABLE, at)


def cost(config: SenCacheConfig, steps: int) -> Cost:
    """Measure one question: its time first, for watching memory slows it down."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run = expected(config, steps)
        seconds.append(time.perf_counter() - began)
    tracemalloc.start()
    expected(config, steps)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Cost(config, steps, run.nfe, statistics.median(seconds), peak)


def page(costs: list[Cost]) -> str:
    """Write the results as Markdown."""
    return "\n".join(
        [
            "# What planning costs",
            "",
            f"Regenerate with `python tests/benchmarks/planning.py`. Machine: {platform.machine()} CPU; "
            f"median of {REPEATS}, peak of what numpy and Python allocate. Shipped Wan table, Euler, cfg "
            f"{CFG:g}. The bars: 50 steps in 50 ms, 1,000 steps in 2 s, {MEMORY_BAR / 1e6:.0f} MB.",
            "",
            "| rule | forecast | asked for | steps | computed | ms | peak, MiB |",
            "|---|---|---|---|---|---|---|",
            *(one.row() for one in costs),
            "",
        ]
    )


def main() -> None:
    """Measure everything, print it and write the page."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    costs = []
    for steps in STEPS:
        for config in questions():
            costs.append(cost(config, steps))
            print(costs[-1].row(), flush=True)
    (Path(__file__).parent / "results" / "planning.md").write_text(page(costs))


if __name__ == "__main__":
    main()
