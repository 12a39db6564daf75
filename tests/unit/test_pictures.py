"""The nodes' pictures, read back by their pixels."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image
from sencache.calibration.table import SensitivityTable
from sencache.pictures.canvas import BACKGROUND, COMPUTED, LINES, REUSED, SCALE, TEXT, Chart
from sencache.pictures.curves import draw_table
from sencache.pictures.strip import LEFT, RIGHT, RUN_HEIGHT, WIDTH, draw_runs
from sencache.tests.toy_records import FIRST, OFF, long_record, outside, over, record, reused

CELLS_MIDDLE = 217  # layout pixels from a run's top
CHART_TOP, CHART_BOTTOM = 56, 186


def across(index: int, total: int) -> float:
    """Return the layout pixel in the middle of one evaluation's column."""
    return LEFT + (index + 0.5) / total * (RIGHT - LEFT)


def pixel(picture: Image.Image, x: float, y: float) -> tuple[int, int, int]:
    return picture.getpixel((round(x * SCALE), round(y * SCALE)))


def cells(picture: Image.Image, total: int, run: int = 0) -> list[tuple[int, int, int]]:
    return [pixel(picture, across(index, total), RUN_HEIGHT * run + CELLS_MIDDLE) for index in range(total)]


def bar_height(picture: Image.Image, index: int, total: int) -> float:
    """Return how much of the chart's height a score's bar takes."""
    x, y = across(index, total), CHART_BOTTOM - 1
    while pixel(picture, x, y) in (COMPUTED, REUSED, TEXT) and y > CHART_TOP:
        y -= 1 / SCALE
    return (CHART_BOTTOM - y) / (CHART_BOTTOM - CHART_TOP)


def spans(picture: Image.Image, y: float) -> int:
    """Count the stretches of cell colours along one line of the picture."""
    row = [picture.getpixel((x, round(y * SCALE))) in (COMPUTED, REUSED) for x in range(picture.width)]
    return sum(now and not before for before, now in zip([False, *row], row, strict=False))


def coloured(picture: Image.Image, box: tuple[int, int, int, int], colour: tuple[int, int, int]) -> int:
    left, top, right, bottom = (value * SCALE for value in box)
    counts = picture.crop((left, top, right, bottom)).getcolors(picture.width * picture.height)
    return sum(count for count, found in counts if found == colour)


@pytest.mark.parametrize(
    "run",
    [long_record(), record(FIRST, reused(0.05), over(0.2), reused(0.01)), record(OFF, OFF, OFF, epsilon=0.0)],
    ids=["long", "short", "off"],
)
def test_every_evaluation_has_a_cell_in_the_colour_of_its_action(run):
    picture = draw_runs([run])
    total = len(run.evaluations)
    expected = [REUSED if one.decision.reuse else COMPUTED for one in run.evaluations]
    assert cells(picture, total) == expected
    assert expected.count(REUSED) == run.reused and expected.count(COMPUTED) == run.nfe
    assert spans(picture, CELLS_MIDDLE) == total


def test_runs_are_drawn_below_one_another():
    short = record(FIRST, reused(0.05))
    picture = draw_runs([short, long_record()])
    assert picture.size == (WIDTH * SCALE, 2 * RUN_HEIGHT * SCALE)
    assert cells(picture, 2, run=0) == [COMPUTED, REUSED]
    assert cells(picture, 20, run=1) == cells(draw_runs([long_record()]), 20)


def test_bars_are_as_high_as_their_scores():
    run = record(FIRST, reused(0.05), over(0.2), reused(0.1), outside(0.0))
    picture = draw_runs([run])
    heights = [bar_height(picture, index, 5) for index in range(5)]
    assert heights[0] == pytest.approx(0, abs=0.02) and heights[4] == pytest.approx(0, abs=0.02)
    assert heights[1:4] == pytest.approx([0.25 / 1.08, 1 / 1.08, 0.5 / 1.08], abs=0.02)


def test_a_score_far_over_epsilon_is_cut_off_so_that_the_others_can_be_told_apart():
    picture = draw_runs([record(FIRST, reused(0.05), over(50.0), reused(0.1))])
    assert bar_height(picture, 2, 4) > 0.98
    assert bar_height(picture, 1, 4) == pytest.approx(0.05 / 0.25 / 1.08, abs=0.02)


def test_the_limit_is_a_line_at_its_height_and_lower_in_the_strict_zone():
    run = record(FIRST, over(0.2, limit=0.05), over(0.2), over(0.2))
    picture = draw_runs([run])
    lines = [
        [y for y in range(CHART_TOP * SCALE, CHART_BOTTOM * SCALE) if picture.getpixel((x, y)) == TEXT]
        for x in (round(across(index, 4) * SCALE) for index in range(4))
    ]
    heights = [(CHART_BOTTOM - sum(ys) / len(ys) / SCALE) / (CHART_BOTTOM - CHART_TOP) for ys in lines[1:]]
    assert lines[0] == []
    assert heights == pytest.approx([0.25 / 1.08, 0.5 / 1.08, 0.5 / 1.08], abs=0.02)


@pytest.mark.parametrize(
    "run",
    [
        record(FIRST),
        record(OFF, epsilon=0.0),
        record(FIRST, over(0.0), reused(0.0)),
        record(FIRST, over(0.3, limit=0.0)),
        record(FIRST, *[reused(0.01)] * 299),
    ],
    ids=["one evaluation", "off", "no change", "no limit", "three hundred"],
)
def test_records_with_little_to_show_are_drawn(run):
    picture = draw_runs([run])
    assert cells(picture, len(run.evaluations))[0] == COMPUTED


def test_a_run_stopped_before_its_first_evaluation_is_drawn_without_cells():
    assert spans(draw_runs([record(complete=False)]), CELLS_MIDDLE) == 0


@pytest.mark.parametrize(("broken", "height"), [(math.nan, 0.0), (math.inf, 1.0)])
def test_scores_that_are_not_finite_leave_the_others_as_they_are(broken, height):
    picture = draw_runs([record(FIRST, reused(0.05), over(broken), over(0.2))])
    assert cells(picture, 4) == [COMPUTED, REUSED, COMPUTED, COMPUTED]
    assert bar_height(picture, 2, 4) == pytest.approx(height, abs=0.02)
    assert bar_height(picture, 1, 4) == pytest.approx(0.25 / 1.08, abs=0.02)


def test_a_chart_places_values_and_clamps_those_beyond_its_ranges():
    chart = Chart((10, 20, 110, 70), x_range=(1000, 0), y_range=(0, 2))
    assert chart.place(1000, 0) == (10 * SCALE, 70 * SCALE)
    assert chart.place(250, 1) == (85 * SCALE, 45 * SCALE)
    assert chart.place(-500, 9) == (110 * SCALE, 20 * SCALE)
    assert Chart((0, 0, 10, 10), (5, 5), (0, 0)).place(5, 0) == (0, 10 * SCALE)


PANELS = {  # the layout pixels of each quantity's chart
    "latent_sensitivity": (64, 68, 372, 210),
    "time_sensitivity": (436, 68, 744, 210),
    "alignment": (64, 272, 372, 414),
    "output_rms": (436, 272, 744, 414),
}


def table(knots: int = 5, samples: int = 2, without: tuple[str, ...] = ()) -> SensitivityTable:
    values = {"latent_sensitivity": 1.5, "time_sensitivity": 0.001, "alignment": -0.5, "output_rms": 1.0}
    timestep = torch.linspace(1000, 100, knots)
    rising = torch.linspace(0.5, 1.0, knots) * torch.linspace(0.8, 1.0, samples)[:, None]
    rows = {name: value * rising for name, value in values.items() if name not in without}
    return SensitivityTable(timestep, timestep / 1000, rows)


def drawn(picture: Image.Image) -> set[str]:
    """Return the quantities whose mean is drawn across its whole chart."""
    return {
        name
        for (name, box), colour in zip(PANELS.items(), LINES, strict=False)
        if coloured(picture, box, colour) > (box[2] - box[0]) * SCALE
    }


def test_every_measured_quantity_of_a_table_is_drawn():
    assert drawn(draw_table(table(), "Wan")) == set(PANELS)


@pytest.mark.parametrize("without", [("alignment",), ("alignment", "output_rms")])
def test_a_table_without_alignment_is_drawn_with_what_it_has(without):
    picture = draw_table(table(without=without), "the authors' table")
    assert drawn(picture) == set(PANELS) - set(without)
    left, top, right, bottom = (value * SCALE for value in PANELS["alignment"])
    assert picture.getpixel((left + 4, bottom - 4)) == BACKGROUND  # no empty chart, only a line of text


def test_a_curve_runs_where_its_values_are():
    straight = torch.full((1, 3), 2.0)
    timestep = torch.tensor([1000.0, 500.0, 0.0])
    rows = {"latent_sensitivity": straight, "time_sensitivity": straight * 0}
    picture = draw_table(SensitivityTable(timestep, timestep / 1000, rows), "flat")
    left, top, right, bottom = PANELS["latent_sensitivity"]
    height = bottom - (bottom - top) / 1.05
    assert pixel(picture, (left + right) / 2, height) == LINES[0]
    assert coloured(picture, (left, round(height) + 4, right, bottom), LINES[0]) == 0


def test_a_table_of_one_knot_or_one_that_is_zero_everywhere_is_drawn():
    assert draw_table(table(knots=1), "one knot").size == draw_table(table(), "five").size
    zero = torch.zeros(1, 2)
    knots = torch.tensor([1000.0, 500.0])
    rows = {"latent_sensitivity": zero, "time_sensitivity": zero}
    assert draw_table(SensitivityTable(knots, knots / 1000, rows), "zero").mode == "RGB"
