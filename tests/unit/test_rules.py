"""Which policy settings get, what a person is told of it, and that a forecast or a rule is one entry more."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from sencache.caching import tuned
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.forecast import FORECASTS, Hold, Space
from sencache.caching.notes import Note
from sencache.caching.planned import Planned
from sencache.caching.planner import solve
from sencache.caching.planning.points import RunPoints
from sencache.caching.planning.search import computed_by
from sencache.caching.policy import Action, Arrival, ComputeAll, Decision, Handling, Reason
from sencache.caching.remarks import remarks
from sencache.caching.rules import RULES, effective, policy_for
from sencache.caching.simulate import simulate
from sencache.caching.threshold import Threshold
from sencache.calibration.table import SensitivityTable
from sencache.tests.toy_plans import POINTS, SIGMAS, STEPS, error_of, follow, planned_run, policy, table_of
from sencache.tests.toy_runs import EVERYWHERE, LinearNetwork, euler, points_at

UP = replace(POINTS, progress=(0.0, 0.5, 0.3))  # sigma goes up


def without_modes() -> SensitivityTable:
    table = table_of(latent_drift=0.001)
    return SensitivityTable(table.timestep, table.sigma, table.rows)


def test_every_rule_has_its_policy_and_where_reuse_is_off_nothing_is_stored():
    kinds = {"plan": Planned, "joint": Threshold, "paper": Threshold}
    assert kinds.keys() == RULES.keys()
    for rule, kind in kinds.items():
        made = policy(table_of(), rule=rule)
        assert isinstance(made, kind) and made.config.rule == rule and made.stores
        for off in ({"epsilon": 0.0}, {"max_reuse": 0}, {"epsilon": 0.0, "speed_up": 3.0}, {"speed_up": 1.0}):
            nothing = policy(table_of(), rule=rule, **off)
            assert isinstance(nothing, ComputeAll) and not nothing.stores
            assert {one.reason for one in simulate(nothing, table_of(), POINTS).decisions} == {Reason.OFF}


def test_without_modes_or_where_progress_does_not_rise_the_joint_rule_works():
    config = SenCacheConfig()
    assert effective(config, table_of(), POINTS) is config
    assert effective(config, without_modes(), POINTS).rule == "joint"
    assert effective(config, table_of(), UP).rule == "joint"
    assert effective(SenCacheConfig(rule="paper"), without_modes(), UP).rule == "paper"
    made = policy(without_modes())
    assert isinstance(made, Threshold) and made.config == replace(config, rule="joint")


def notes(table: SensitivityTable, points: RunPoints = POINTS, zones: Zones = EVERYWHERE, **settings):
    config = SenCacheConfig(**settings)
    return remarks(config, policy_for(config, zones, table, points), table, points)


def steps(count: int) -> RunPoints:
    sigmas = [1 - step / count for step in range(count)]
    return points_at(sigmas, [1000 * sigma for sigma in sigmas])


@pytest.mark.parametrize("count", range(1, 13))
@pytest.mark.parametrize("wish", [1.0, 1.5, 2.0, 3.0, 4.0, 5.0])
def test_a_wish_is_raised_exactly_where_fewer_than_the_least_were_asked_for(count, wish):
    found = notes(table_of(sigmas=[1.0, 0.5, 0.0]), steps(count), speed_up=wish)
    raised = min(2, count) * wish > count
    values = {"wished": f"{wish:g}", "count": min(2, count), "total": count}
    assert found == ((Note("wish_raised", values),) if raised else ())


def test_a_wish_is_limited_exactly_where_n_or_the_range_forbids_it():
    def limited(wish: float, count: int) -> tuple[Note]:
        return (Note("wish_limited", {"wished": f"{wish:g}", "count": count, "total": 9}),)

    assert notes(table_of(), speed_up=3.0, max_reuse=2) == ()
    assert notes(table_of(), speed_up=4.5, max_reuse=2) == limited(4.5, 3)
    half = Zones(start_sigma=1.0, end_sigma=0.5, strict_sigma=math.inf)
    assert notes(table_of(), zones=half, speed_up=1.8) == ()
    assert notes(table_of(), zones=half, speed_up=2.0) == limited(2.0, 5)
    assert notes(table_of(), zones=half, speed_up=9.0) == limited(9.0, 5)


def test_what_a_table_lacks_is_said():
    assert notes(table_of(), replace(POINTS, cfg=5.0)) == (Note("unguided", {"cfg": "5"}),)
    assert notes(table_of(sigmas=SIGMAS[:-2])) == (Note("unmeasured", {"count": 2}),)
    assert notes(without_modes()) == (Note("unplanned"),)
    assert notes(table_of(sigmas=SIGMAS[:-2]), epsilon=0.0) == ()


def test_what_a_table_lacks_is_counted_where_the_sampler_evaluates():
    """dpm_fast does not evaluate at the schedule's last sigma, dpm_adaptive not even at its others."""
    part = table_of(sigmas=SIGMAS[:-1])
    assert notes(part, POINTS) == (Note("unmeasured", {"count": 1}),)
    elsewhere = tuple((sigma, 1000 * sigma) for sigma in (1.0, 0.6, 0.5, 0.3))
    assert notes(part, replace(POINTS, evaluations=elsewhere)) == ()
    beyond = (*elsewhere, (0.05, 50.0), (0.01, 10.0))
    assert notes(part, replace(POINTS, evaluations=beyond)) == (Note("unmeasured", {"count": 2}),)
    assert notes(part, replace(POINTS, adaptive=True)) == ()


@dataclass(frozen=True, slots=True)
class Parabola:
    """Extends the parabola through the last three outputs; through fewer, what goes through them."""

    history: int = 3
    space: Space = Space.RAW
    corrects: bool = False

    def weights(self, times: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Return Lagrange's weights."""
        found = []
        for index, own in enumerate(times):
            others = [other for place, other in enumerate(times) if place != index]
            found.append(np.ones(np.broadcast_shapes(own.shape, np.shape(time))))
            for other in others:
                found[-1] = found[-1] * (time - other) / (own - other)
        return np.stack(found)


def quadratic(sigma: float) -> torch.Tensor:
    return torch.tensor([[1 + 2 * sigma - 3 * sigma**2, sigma**2, 0.5, -(sigma**2)]])


def test_a_new_forecast_is_one_class_and_one_entry(monkeypatch):
    monkeypatch.setitem(FORECASTS, "parabola", Parabola())
    table = table_of(quadratic)
    run = planned_run(table, forecast="parabola", speed_up=2.25)
    served = follow(run, quadratic)
    evaluations = run.finish()
    made = policy(table, forecast="parabola", speed_up=2.25)
    assert made.config.forecast == "parabola" and made.predicted_error < 1e-3
    expected = simulate(made, table, POINTS)
    assert [one.decision.reuse for one in evaluations] == [one.reuse for one in expected.decisions]
    assert len(served) == 5
    for sigma, output in served.items():
        assert torch.allclose(output, quadratic(sigma), atol=1e-5)


def test_the_plans_of_a_new_forecast_err_by_the_definition():
    best = solve(SenCacheConfig(), EVERYWHERE, table_of(), POINTS, Parabola())
    progress = np.asarray(POINTS.progress)

    def parabola(outputs, points, known, step):
        """What is served: of more than two outputs the older ones are taken to lie at the same stride."""
        last = known[-1]
        stride = last - known[-2] if len(known) > 1 else 0
        count = min(3, 1 + last // stride) if stride else 1
        nodes = [last - stride * back for back in range(count - 1, -1, -1)]
        through = np.polyfit(progress[nodes], [outputs[node] for node in nodes], count - 1)
        rise = np.polyval(through, progress[step]) - outputs[last]
        square = max(float(rise @ rise), 1e-12)
        follow = min(max(float((outputs[step] - outputs[last]) @ rise) / square, 0.0), tuned.MAX_DAMPING)
        return outputs[last] + follow * rise

    for count in range(1, STEPS + 1):
        plan = best.plan(count)
        by_definition = error_of(computed_by(plan, STEPS), False, serve=parabola, remembers=True)
        assert plan.lasting**2 == pytest.approx(by_definition, rel=1e-3, abs=1e-9)


class EveryOther:
    """A rule that reuses every second evaluation."""

    stores = True
    planned = None
    predicted_error = 0.0

    def __init__(self, config, zones, table, points) -> None:
        self.config, self.forecast, self._computed = config, Hold(), False

    def decide(self, arrival: Arrival) -> Decision:
        if self._computed:
            return Decision(Action.REUSE, Reason.WITHIN_LIMIT, 0.0, 0.0)
        return Decision(Action.COMPUTE, Reason.PLANNED)

    def take(self, arrival: Arrival, decision: Decision) -> Handling:
        self._computed = not decision.reuse
        return Handling()

    def forget(self) -> None:
        self._computed = False


def test_a_new_rule_is_one_class_and_one_entry(monkeypatch):
    with pytest.raises(ValueError, match="rule is 'every_other'"):
        SenCacheConfig(rule="every_other")
    monkeypatch.setitem(RULES, "every_other", EveryOther)
    table = table_of()
    made = policy(table, rule="every_other")
    assert isinstance(made, EveryOther)
    expected = simulate(made, table, POINTS)
    assert [one.reuse for one in expected.decisions] == [False, True] * 4 + [False]
    network, run = LinearNetwork(), planned_run(table, rule="every_other")
    euler(network, torch.ones(1, 4), [*SIGMAS, 0.0], run)
    assert network.evaluations == 5 == expected.nfe
    assert tuple(one.decision for one in run.finish()) == expected.decisions
