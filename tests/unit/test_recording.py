"""A run that is watched gives the table that a calibration would, or says why it can't."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from sencache.calibration.joining import joined
from sencache.calibration.modes import OutputModes
from sencache.calibration.recording import (
    MOST_BYTES,
    MOST_ELEMENTS,
    MOST_SAMPLES,
    Obstacle,
    Recording,
    Sketch,
    UnmeasurableError,
    chosen_elements,
    chosen_samples,
)
from sencache.calibration.table import SOURCE, TableError, from_bytes, to_bytes

ELEMENTS = 400
DIRECTIONS = torch.randn(3, 1, ELEMENTS, generator=torch.Generator().manual_seed(3))


def shares(sigma: float) -> tuple[float, float]:
    return 1 - sigma, sigma


def clean(sigma: float) -> torch.Tensor:
    """The denoised latent of a smooth run: what a network makes out becomes clearer with time."""
    return math.cos(sigma) * DIRECTIONS[0] + math.sin(2 * sigma) * DIRECTIONS[1]


def run(sigmas: list[float], guided: bool = True, added: float = 0.0, seed: int = 0) -> Recording:
    """Follow a flow model's straight paths, with noise of rms `added` at every step."""
    recording, generator = Recording(), torch.Generator().manual_seed(seed)
    noise = DIRECTIONS[2]
    for sigma in sigmas:
        x = (1 - sigma) * clean(sigma) + sigma * noise
        output = noise - clean(sigma)
        recording.add(Sketch(sigma, 1000 * sigma, x, (output, 0.5 * output)[: 1 + guided]))
        noise = noise + added * torch.randn(noise.shape, generator=generator)
    return recording


def sigmas_between(first: float, last: float, count: int) -> list[float]:
    return torch.linspace(first, last, count).tolist()


def obstacle(recording: Recording) -> Obstacle:
    with pytest.raises(UnmeasurableError) as raised:
        recording.table({}, shares)
    return raised.value.why


WHOLE = sigmas_between(1.0, 0.05, 20)


def test_the_modes_hold_the_outputs_inner_products():
    table = run(WHOLE).table({"model": "x"}, shares)
    assert table.modes is not None and table.guided and not table.has_sensitivities
    columns = table.modes.guided([900.0, 300.0], 1.0)
    outputs = [DIRECTIONS[2] - clean(sigma) for sigma in (0.9, 0.3)]
    expected = (outputs[0] - outputs[1]).square().mean().sqrt()
    assert float((columns[0] - columns[1]).norm()) == pytest.approx(float(expected), rel=0.02)


def test_it_can_be_written_and_read():
    table = run(WHOLE).table({"model": "x"}, shares)
    assert from_bytes(to_bytes(table)) == table


def test_a_look_back_takes_the_place_of_what_came_after():
    recording = run(WHOLE[:5])
    recording.add(Sketch(WHOLE[3], 1000 * WHOLE[3], DIRECTIONS[0], (DIRECTIONS[1],)))
    assert len(recording) == 4


def test_why_a_run_can_not_be_measured():
    assert obstacle(run(WHOLE[:3])) is Obstacle.TOO_FEW_STEPS
    assert obstacle(run(WHOLE, added=0.3)) is Obstacle.NOISE_ADDED
    broken = run(WHOLE)
    broken.add(Sketch(0.01, 10.0, DIRECTIONS[0] * math.nan, (DIRECTIONS[1],)))
    assert obstacle(broken) is Obstacle.NOT_FINITE
    with pytest.raises(UnmeasurableError, match="size_changed"):
        run(WHOLE).add(Sketch(0.01, 10.0, DIRECTIONS[0, :, :100], (DIRECTIONS[1, :, :100],)))


def test_over_reused_evaluations_no_direction_is_compared():
    """There a latent may turn as far as added noise would turn it."""
    sparse = run(WHOLE, added=0.3)
    spaced = Recording()
    for index, sketch in enumerate(sparse._held):
        if index % 2 == 1:
            spaced.pass_by()
        spaced.add(sketch)
    assert obstacle(spaced) is Obstacle.NOT_MEASURABLE  # nothing tells whether noise was added
    spaced.noiseless = True
    assert spaced.table({}, shares).modes is not None
    broken = run(WHOLE[:3])
    broken.pass_by()
    for sketch in run(WHOLE, added=1.0)._held[3:]:
        broken.add(sketch)
    assert obstacle(broken) is Obstacle.NOISE_ADDED


def test_a_sampler_known_to_add_no_noise_is_not_judged_by_its_latents():
    recording = run(WHOLE, added=0.3)
    recording.noiseless = True
    assert recording.table({}, shares).modes is not None


def test_the_elements_are_spread_where_the_mask_lets_sample():
    mask = torch.zeros(1, 1, 4, 100)
    mask[..., 2:, :] = 1
    chosen = chosen_elements((1, 1, 4, 100), 20, mask)
    assert len(chosen) == 200 and int(chosen.min()) == 200 and int(chosen.max()) == 399
    with pytest.raises(UnmeasurableError, match="masked_out"):
        chosen_elements((1, 1, 4, 100), 20, torch.zeros(1, 1, 4, 100))


@pytest.mark.parametrize("steps", [20, 50, 1000])
@pytest.mark.parametrize("batch", [1, 4])
def test_the_sketches_of_a_large_video_stay_within_64_mebibytes(steps, batch):
    """Wan 14B at 832x480x81 has a latent of 16x21x60x104."""
    chosen = chosen_elements((batch, 16, 21, 60, 104), steps)
    assert len(chosen) <= MOST_ELEMENTS
    assert 3 * 4 * batch * steps * len(chosen) <= MOST_BYTES <= 64 << 20


@pytest.mark.parametrize("batch", [1, 31, 32, 33, 64, 5000])
def test_of_a_large_batch_some_samples_are_measured(batch):
    samples = chosen_samples(torch.arange(batch)).tolist()
    assert len(samples) == len(set(samples)) and min(batch, 17) <= len(samples) <= MOST_SAMPLES
    assert samples[0] == 0 and samples[-1] >= batch - 1 - batch // 16
    chosen = chosen_elements((batch, 16, 21, 60, 104), 50)
    assert len(chosen) > 1000 and 3 * 4 * len(samples) * 50 * len(chosen) <= MOST_BYTES
    with pytest.raises(UnmeasurableError, match="too_many_evaluations"):
        chosen_elements((32, 16, 21, 60, 104), 10_000)


def test_two_halves_join_to_what_the_whole_measures():
    whole = run(WHOLE).table({}, shares)
    first, second = (run(part).table({}, shares) for part in (WHOLE[:10], WHOLE[9:]))
    both = joined(first, second)
    assert both.modes is not None and both.modes.covers(whole.timestep.tolist()).all()
    times = [900.0, 750.0, 650.0, 560.0, 480.0, 380.0, 200.0]  # steps that a window may reuse between
    got, expected = (table.modes.guided(times, 5.0).diff(dim=0).norm(dim=1) for table in (both, whole))
    assert torch.allclose(got, expected, rtol=0.08)
    assert joined(both, second) is both


def test_between_two_distant_parts_nothing_counts_as_measured():
    early, late = (run(sigmas_between(*ends, 8)).table({}, shares) for ends in ((1.0, 0.8), (0.3, 0.1)))
    both = joined(early, late)
    assert both.modes.covers([900.0, 200.0]).all() and not both.modes.covers([700.0, 500.0, 350.0]).any()
    filled = joined(both, run(sigmas_between(0.82, 0.28, 16)).table({}, shares))
    assert filled.modes.covers([900.0, 700.0, 500.0, 350.0, 200.0]).all()


def test_a_table_of_one_sensitivity_or_of_nothing_is_refused():
    table = run(WHOLE).table({}, shares)
    rows = dict(table.rows)
    with pytest.raises(TableError, match="it has no 'time_sensitivity'"):
        type(table)(table.timestep, table.sigma, {**rows, "latent_sensitivity": rows["output_rms"]}, {})
    with pytest.raises(TableError, match="neither sensitivities nor output modes"):
        type(table)(table.timestep, table.sigma, rows, {})


def test_a_watched_table_whose_rows_and_modes_disagree_is_refused():
    table = run(WHOLE).table({"model": "x"}, shares)
    for kept in (slice(0, 10), slice(10, None)):
        modes = OutputModes(table.modes.timestep[kept], table.modes.values[:, :, kept])
        with pytest.raises(TableError, match="its rows and its output modes are of different timesteps"):
            replace(table, modes=modes)
    with pytest.raises(TableError, match="of different timesteps"):
        replace(table, timestep=table.timestep + 1)


def test_a_calibration_has_modes_beside_its_rows():
    table = run(WHOLE).table({"model": "x"}, shares)
    sensitivities = dict.fromkeys(("latent_sensitivity", "time_sensitivity"), table.rows["output_rms"])
    replace(table, rows=sensitivities, timestep=table.timestep + 1)
    with pytest.raises(TableError, match="of different timesteps"):
        watched = {"source": SOURCE}
        replace(table, rows=sensitivities, timestep=table.timestep + 1, metadata=watched)
