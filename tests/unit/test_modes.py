"""Output modes: what they keep of a run's outputs, and what no table may hold."""

from __future__ import annotations

import pytest
import torch
from sencache.calibration import table as tables
from sencache.calibration.modes import MARGIN, MAX_ELEMENTS, MAX_MODES, OutputModes, from_outputs, sketch
from sencache.calibration.table import SensitivityTable, TableError, merge

TIMES = [1000.0, 800.0, 550.0, 300.0, 50.0]


def outputs(seed: int, batch: int = 1, branches: int = 2) -> list[list[torch.Tensor]]:
    """Smooth curves through a space of 40 dimensions."""
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randn(3, branches, batch, 40, generator=generator)
    return [
        [parts[0, b] + parts[1, b] * t / 1000 + parts[2, b] * (t / 1000) ** 2 for b in range(branches)]
        for t in TIMES
    ]


def table_of(modes: OutputModes | None, samples: int = 1, **metadata: str) -> SensitivityTable:
    rows = {name: torch.ones(samples, 2) for name in ("latent_sensitivity", "time_sensitivity")}
    return SensitivityTable(torch.tensor([1000.0, 0.0]), torch.tensor([1.0, 0.0]), rows, metadata, modes)


@pytest.mark.parametrize("cfg", [0.0, 1.0, 5.0])
def test_any_sum_of_guided_outputs_has_the_length_of_the_same_sum_of_columns(cfg):
    run = outputs(0)
    columns = from_outputs(TIMES, run).guided(TIMES, cfg)
    weights = torch.tensor([0.3, -1.0, 2.0, 0.0, -1.4], dtype=torch.float64)
    guided = torch.stack([negative + cfg * (positive - negative) for positive, negative in run])
    real = (weights[:, None, None] * guided).sum(dim=0).square().mean().sqrt()
    assert (weights @ columns).norm().item() == pytest.approx(real.item(), rel=1e-3)


def test_a_batch_counts_as_the_mean_square_of_its_samples():
    run = outputs(1, batch=3)
    columns = from_outputs(TIMES, run).guided(TIMES, 1.0)
    real = (run[2][0] - run[1][0]).square().mean().sqrt()
    assert (columns[2] - columns[1]).norm().item() == pytest.approx(real.item(), rel=1e-3)


def test_without_a_negative_branch_guidance_changes_nothing():
    modes = from_outputs(TIMES, outputs(2, branches=1))
    assert torch.equal(modes.guided(TIMES, 5.0), modes.guided(TIMES, 1.0))


def test_between_the_knots_a_smooth_curve_is_met():
    times = torch.linspace(1000, 0, 41).tolist()
    wave = [
        [torch.stack([torch.sin(torch.tensor([t / 200.0])), torch.cos(torch.tensor([t / 300.0]))], 1)]
        for t in times
    ]
    modes = from_outputs(times, wave)
    at = [987.5, 512.5, 12.5]
    between = modes.guided(at, 1.0)
    steps = (between[1:] - between[:-1]).norm(dim=1)
    direct = [
        torch.tensor([torch.sin(torch.tensor(t / 200.0)), torch.cos(torch.tensor(t / 300.0))]) for t in at
    ]
    real = [(b - a).square().mean().sqrt().item() for a, b in zip(direct, direct[1:], strict=False)]
    assert steps.tolist() == pytest.approx(real, rel=1e-3)


def test_merged_modes_are_the_mean_over_all_samples():
    first, second, both = outputs(3), outputs(4, batch=2), outputs(3)
    joined = [
        [torch.cat([a, b]) for a, b in zip(x, y, strict=True)] for x, y in zip(both, second, strict=True)
    ]
    merged = merge(table_of(from_outputs(TIMES, first), 1), table_of(from_outputs(TIMES, second), 2)).modes
    whole = from_outputs(TIMES, joined)
    for cfg in (1.0, 4.0):
        left, right = (modes.guided(TIMES, cfg) @ modes.guided(TIMES, cfg).T for modes in (merged, whole))
        assert torch.allclose(left, right, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_outside_the_knots_the_straight_line_goes_on_that_the_curve_ends_in(cfg):
    modes = from_outputs(TIMES, outputs(8))
    for edge, sign in ((TIMES[0], 1), (TIMES[-1], -1)):
        near, once, twice = modes.guided([edge, edge + sign * 40, edge + sign * 80], cfg)
        assert torch.allclose(twice - once, once - near, rtol=1e-9, atol=1e-12)
        inside = modes.guided([edge - sign * 1e-3], cfg)[0]  # a natural spline ends without a bend
        assert torch.allclose((near - inside) * 40e3, once - near, rtol=1e-4, atol=1e-6)


def test_a_straight_output_is_met_wherever_it_is_asked_for():
    def straight(times: list[float]) -> OutputModes:
        return from_outputs(times, [[torch.tensor([[t / 1000, 1 - t / 500]])] for t in times])

    wider = [1200.0, *TIMES, 0.0, -100.0]
    measured, expected = straight(TIMES).guided(wider, 1.0), straight(wider).guided(wider, 1.0)
    assert torch.allclose(measured @ measured.T, expected @ expected.T, rtol=1e-4, atol=1e-5)


def test_what_lies_between_the_first_and_the_last_knot_is_covered_and_a_thousandth_beside_them():
    modes = from_outputs(TIMES, outputs(9))  # from 1000 to 50
    low, high = 50 - 950 * MARGIN, 1000 + 950 * MARGIN
    assert modes.span == (low, high)
    times = [high + 0.01, high, 1000.0, 51.0, 50.0, low, low - 0.01, 0.0]
    assert modes.covers(times).tolist() == [False, True, True, True, True, True, False, False]


def test_modes_of_other_times_or_branches_are_left_out_of_a_merged_table():
    mine = table_of(from_outputs(TIMES, outputs(5)))
    assert merge(mine, table_of(from_outputs(TIMES, outputs(5, branches=1)))).modes is None
    shifted = [time + 1 for time in TIMES]
    assert merge(mine, table_of(from_outputs(shifted, outputs(5)))).modes is None
    assert merge(mine, table_of(None)).modes is None


def test_a_table_keeps_its_modes_on_disk(tmp_path):
    table = table_of(from_outputs(TIMES, outputs(6)))
    tables.save(table, tmp_path / "t.safetensors")
    loaded = tables.load(tmp_path / "t.safetensors")
    assert loaded == table and torch.equal(loaded.modes.values, table.modes.values)
    assert loaded != table_of(None)


@pytest.mark.parametrize(
    ("timestep", "values", "reason"),
    [
        (torch.tensor([1.0]), torch.ones(1, 1, 1), "1 timesteps in its modes"),
        (torch.tensor([[2.0, 1.0]]), torch.ones(1, 1, 2), "not one dimension"),
        (torch.tensor([1.0, 2.0]), torch.ones(1, 1, 2), "do not descend"),
        (torch.tensor([2.0, 1.0]), torch.ones(1, 3, 2), "has shape"),
        (torch.tensor([2.0, 1.0]), torch.ones(MAX_MODES + 1, 1, 2), "has shape"),
        (torch.tensor([2.0, 1.0]), torch.ones(1, 1, 3), "has shape"),
        (torch.tensor([2.0, 1.0]), torch.ones(1, 1, 2).double(), "not float32"),
        (torch.tensor([2.0, 1.0]), torch.full((1, 1, 2), float("nan")), "not finite"),
        (torch.tensor([2.0, 1.0]), torch.full((1, 1, 2), 1e7), "range"),
    ],
)
def test_modes_that_can_not_be_are_refused(timestep, values, reason):
    with pytest.raises(TableError, match=reason):
        OutputModes(timestep, values)


def test_a_file_with_one_of_the_two_tensors_is_refused(monkeypatch):
    data = tables.to_bytes(table_of(from_outputs(TIMES, outputs(7))))
    monkeypatch.setattr(tables, "MODE_NAMES", ("modes_timestep", "other"))
    with pytest.raises(TableError, match="modes_timestep alone of its modes"):
        tables.from_bytes(data)


def test_a_sketch_is_a_copy_of_at_most_65536_evenly_spread_elements():
    small = torch.ones(2, 3, 4)
    kept = sketch(small)
    small.fill_(9.0)
    assert kept.shape == (2, 12) and bool((kept == 1).all())
    large = torch.arange(MAX_ELEMENTS * 3, dtype=torch.float64)[None]
    spread = sketch(large)
    assert spread.shape == (1, MAX_ELEMENTS) and spread.dtype == torch.float32
    assert spread[0, 0] == 0 and spread[0, -1] == MAX_ELEMENTS * 3 - 1
    assert spread.mean().item() == pytest.approx(large.mean().item(), rel=1e-3)
