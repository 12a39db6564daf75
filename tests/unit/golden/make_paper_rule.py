"""Writes paper_rule.json: trajectories, tables and settings, and what the paper's rule decides about them.

Reckons with plain floats, from the rule as the paper states it, and knows nothing of this pack:

    score = J_x(t_i) * rms(x_j - x_i) + J_t(t_i) * |t_j - t_i|       i: the last computed step
    reuse  iff  a computed output exists  and  score <= epsilon(j)  and  reuses in a row < n

The table is read between its knots by linear interpolation and beyond them at the nearest knot; epsilon(j)
is the strict one in the first steps.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random

TARGET = Path(__file__).with_name("paper_rule.json")
SHIFT = 8.0


def shifted_sigmas(steps: int) -> list[float]:
    """Return the sigmas of a flow model with a shift, without the final 0."""
    uniform = [1 - step / steps for step in range(steps)]
    return [round(SHIFT * u / (1 + (SHIFT - 1) * u), 6) for u in uniform]


def even_sigmas(steps: int) -> list[float]:
    """Return sigmas in even steps, without the final 0."""
    return [round(1 - step / steps, 6) for step in range(steps)]


def trajectory(seed: int, sigmas: list[float], size: int, bend: float) -> list[list[float]]:
    """Return a latent per sigma: from noise to data, and off the straight line by `bend` in between."""
    random = Random(seed)
    noise, data, aside = ([random.uniform(-1.7, 1.7) for _ in range(size)] for _ in range(3))
    return [
        [
            round(s * n + (1 - s) * d + bend * s * (1 - s) * a, 5)
            for n, d, a in zip(noise, data, aside, strict=True)
        ]
        for s in sigmas
    ]


TABLES = {
    "a knot at every step of the even schedule": {
        "timestep": [1000 * sigma for sigma in even_sigmas(20)],
        "latent_sensitivity": [round(0.9 - 0.75 * step / 20, 5) for step in range(20)],
        "time_sensitivity": [round(0.0001 + 0.0008 * (step / 20 - 0.4) ** 2, 7) for step in range(20)],
    },
    "few knots that no step falls on": {
        "timestep": [979.0, 941.0, 713.5, 402.25, 55.125],
        "latent_sensitivity": [1.1, 0.35, 0.2, 0.6, 0.15],
        "time_sensitivity": [0.002, 0.0004, 0.0001, 0.0009, 0.0003],
    },
    "a single knot": {"timestep": [500.0], "latent_sensitivity": [0.25], "time_sensitivity": [0.0002]},
}

TRAJECTORIES = {
    "even": (even_sigmas(20), trajectory(1, even_sigmas(20), size=6, bend=0.0)),
    "shifted": (shifted_sigmas(20), trajectory(2, shifted_sigmas(20), size=8, bend=1.5)),
    "long": (shifted_sigmas(50), trajectory(3, shifted_sigmas(50), size=4, bend=-2.0)),
}

# trajectory, table, epsilon, strict epsilon, share of strict steps, n
CASES = [
    ("even", 0, 0.15, 0.15, 0.0, 10),
    ("even", 0, 0.1, 0.03, 0.2, 10),
    ("even", 0, 0.15, 0.15, 0.0, 1),
    ("shifted", 0, 0.11, 0.005, 0.2, 2),
    ("shifted", 1, 0.07, 0.005, 0.2, 10),
    ("shifted", 1, 0.2, 0.05, 0.2, 3),
    ("shifted", 2, 2.0, 0.045, 0.2, 3),
    ("long", 0, 0.07, 0.005, 0.2, 10),
    ("long", 1, 0.07, 0.02, 0.2, 4),
    ("long", 1, 2.0, 0.045, 0.2, 3),
    ("long", 2, 0.05, 0.05, 0.0, 10),
    ("long", 2, 0.001, 0.001, 0.0, 10),
]


def looked_up(table: dict[str, list[float]], name: str, timestep: float) -> float:
    """Read one row of a table at a timestep."""
    knots, values = table["timestep"], table[name]
    if timestep >= knots[0]:
        return values[0]
    for k in range(len(knots) - 1):
        if knots[k + 1] <= timestep:
            share = (knots[k] - timestep) / (knots[k] - knots[k + 1])
            return (1 - share) * values[k] + share * values[k + 1]
    return values[-1]


def rms(difference: list[float]) -> float:
    """Return the root of the mean square."""
    return math.sqrt(sum(value * value for value in difference) / len(difference))


def decisions(case: dict) -> list[dict]:
    """Walk through one trajectory by the paper's rule."""
    made: list[dict] = []
    last, in_a_row = 0, 0
    for j, step in enumerate(case["steps"]):
        reference = case["steps"][last]
        row = reference["row"]
        by_latent = row[0] * rms([b - a for a, b in zip(reference["latent"], step["latent"], strict=True)])
        score = by_latent + row[1] * abs(step["timestep"] - reference["timestep"])
        epsilon = case["strict_epsilon"] if j < case["strict_steps"] else case["epsilon"]
        if j == 0:
            made.append({"action": "compute", "because": "first", "score": None})
        elif score > epsilon:
            made.append({"action": "compute", "because": "over budget", "score": score})
        elif in_a_row >= case["n"]:
            made.append({"action": "compute", "because": "n reached", "score": score})
        else:
            made.append({"action": "reuse", "because": "within budget", "score": score})
        assert j == 0 or abs(score - epsilon) > 1e-4 * epsilon, "too close for float32 to tell"
        computed = made[-1]["action"] == "compute"
        last, in_a_row = (j, 0) if computed else (last, in_a_row + 1)
    return made


def recorded(trajectory_name: str, table: int, epsilon: float, strict: float, share: float, n: int) -> dict:
    """Return one case with its inputs and its decisions."""
    sigmas, latents = TRAJECTORIES[trajectory_name]
    table_name, knots = list(TABLES.items())[table]
    case = {
        "name": f"{trajectory_name}, {table_name}, epsilon {epsilon} after {strict}, n {n}",
        "table": knots,
        "epsilon": epsilon,
        "strict_epsilon": strict,
        "strict_steps": int(share * len(sigmas)),
        "n": n,
        "steps": [
            {
                "sigma": sigma,
                "timestep": 1000 * sigma,
                "latent": latent,
                "row": [looked_up(knots, name, 1000 * sigma) for name in list(knots)[1:]],
            }
            for sigma, latent in zip(sigmas, latents, strict=True)
        ],
    }
    return case | {"decisions": decisions(case)}


def text() -> str:
    """Return the file's contents, one step a line."""
    cases = []
    for case in (recorded(*one) for one in CASES):
        steps = case.pop("steps")
        fields = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in case.items()]
        steps = ",\n".join(f"   {json.dumps(step)}" for step in steps)
        cases.append("{\n" + ",\n".join(fields) + ',\n  "steps": [\n' + steps + "\n  ]\n}")
    return "[\n" + ",\n".join(cases) + "\n]\n"


if __name__ == "__main__":
    TARGET.write_text(text())
