"""SenCache Calibrate: measures a model once and saves its sensitivity table."""

from __future__ import annotations

import logging
from typing import Any

import comfy.samplers
import comfy.utils
from comfy_api.latest import io

from ..caching.notes import Note
from ..caching.sentences import sentence
from ..calibration.estimator import Calibration
from ..calibration.rounding import rounded
from ..calibration.table import SensitivityTable, TableError
from ..pictures.curves import draw_table
from .automatic import own_identity
from .calibrate_report import as_text, expected_gains, in_words
from .host.accelerators import refuse_other_accelerator
from .host.api import aliases, as_image
from .host.calibration import EVERY_STEP, SOME_STEPS, CalibrationRun, digest
from .host.model_identity import fingerprint, loras_digest, plain_name, readable_name, weights_digest
from .host.queued_graph import model_of_executing_node
from .host.table_sampling import describe
from .host.wrappers import without_patch
from .model_patch import Sensitivity
from .panel.cost import cost_of
from .panel.live import LiveCalibration, tell_measured
from .refusals import NotedTableError
from .tables import files as table_files

logger = logging.getLogger(__name__)

_NAMED: dict[str, str] = {}  # the tables named after their models, by what leads to the model
MOST_NAMED = 256
NODE = "SenCache Calibrate"
ADAPTIVE = ("dpm_adaptive",)  # takes other steps for every seed


class SenCacheCalibrate(io.ComfyNode):
    """Measures how the network's output changes with its latent and with time along a few sampling runs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SenCacheCalibrate",
            display_name="SenCache Calibrate",
            category="advanced/sencache",
            description="Measures a model and saves a small table that SenCache Model Patch uses. Not needed "
            "to begin with: a model's first run measures one too. As it is set it costs less than one video "
            "of 50 steps at the latent's size. Cancelled, it keeps the finished samples and goes on from "
            "them.",
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model to measure, with the LoRAs and shift you sample with."
                ),
                io.Conditioning.Input("positive", tooltip="A typical prompt."),
                io.Latent.Input(
                    "latent",
                    tooltip="An empty latent, or one of image to video with its start frames: the model's "
                    "own sampling is measured. Encoded videos: those are noised and measured, as in the "
                    "paper. A small one is enough.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="Your negative prompt. Without it cfg is 1, and the table is for sampling "
                    "without guidance.",
                ),
                io.Int.Input(
                    "steps",
                    default=24,
                    min=2,
                    max=200,
                    tooltip="Sampling steps; at least 24 are measured. The table then serves any number of "
                    "them.",
                ),
                io.Combo.Input(
                    "sampler",
                    options=[name for name in comfy.samplers.KSampler.SAMPLERS if name not in ADAPTIVE],
                    default="euler",
                    tooltip="The sampler you usually sample with.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.KSampler.SCHEDULERS,
                    default="simple",
                    tooltip="The scheduler you usually sample with.",
                ),
                io.Int.Input(
                    "samples",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Sampling runs to measure. One will do; 8 as in the paper.",
                ),
                io.Float.Input(
                    "cfg", default=5.0, min=0.0, max=100.0, step=0.1, tooltip="Guidance while measuring."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,
                    tooltip="The first sample's seed; each further sample takes the next one.",
                ),
                io.String.Input(
                    "table_name",
                    default="",
                    tooltip="The table's file name in models/sencache. Empty: named after the model. An "
                    "earlier table of this model is replaced, one of another model never is.",
                ),
                io.Combo.Input(
                    "sensitivities",
                    options=[SOME_STEPS, EVERY_STEP],
                    default=SOME_STEPS,
                    optional=True,
                    tooltip="Where the sensitivities are measured that the rules paper and joint need, with "
                    "two evaluations more each: at every step as in the paper, or at a few.",
                ),
                io.Sampler.Input(
                    "own_sampler",
                    optional=True,
                    tooltip="For models that only a sampler of their own can sample, such as CogVideoX with "
                    "VOIDSampler; it wins over 'sampler'.",
                ),
            ],
            outputs=[
                Sensitivity.Output(
                    display_name="SENSITIVITY", tooltip="The table, for SenCache Model Patch."
                ),
                io.Image.Output(display_name="IMAGE", tooltip="The measured curves."),
                io.String.Output(display_name="STRING", tooltip="What was measured, in words."),
            ],
            is_output_node=True,
            **aliases("SenCache measure", "sensitivity"),
        )

    @classmethod
    def fingerprint_inputs(cls, table_name: str | None = "", **kwargs: Any) -> int:
        """Run again where the table that was saved is gone; else the inputs alone count."""
        if table_name is None:  # linked: not known yet
            return 0
        name = str(table_name).strip() or _NAMED.get(str(model_of_executing_node()), "")
        try:
            return table_files.deletions(table_files.save_target(name).path)
        except TableError:
            return 0

    @classmethod
    def validate_inputs(cls, table_name: str = "") -> bool | str:
        """Refuse a name that no file should have before anything is measured."""
        if not str(table_name).strip():
            return True
        try:
            table_files.save_target(str(table_name))
        except TableError as error:
            return f"{NODE}: {error}."
        return True

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: list,
        latent: dict[str, Any],
        steps: int,
        sampler: str,
        scheduler: str,
        samples: int,
        cfg: float,
        seed: int,
        table_name: str,
        negative: list | None = None,
        own_sampler: Any = None,
        sensitivities: str = SOME_STEPS,
    ) -> io.NodeOutput:
        """Measure, keeping each finished sample, and save the table; raises ValueError in one sentence."""
        refuse_other_accelerator(NODE, model.model_options, model.wrappers)
        settings = (steps, sampler, scheduler, cfg, own_sampler, sensitivities)
        run = CalibrationRun(without_patch(model), positive, negative, latent, *settings)
        target = None
        try:
            target = _target(run.model, table_name)
            table, text = _measure(run, samples, seed, target)
            tell_measured(target.name)
        except TableError as error:
            raise ValueError(f"{NODE}: {str(error).rstrip('.')}.") from error
        except OSError as error:  # its own text holds whole paths
            reason = error.strerror or type(error).__name__
            named = table_name.strip() or (table_name if target is None else target.name)
            raise ValueError(f"{NODE}: the table {named!r} can't be saved: {reason}.") from error
        image = as_image(draw_table(table, table.metadata["model"]))
        return io.NodeOutput(table, image, text, ui={"text": [text]})


def _target(model: Any, name: str) -> table_files.SaveTarget:
    """Return where the table goes: by the typed name, else by the model's.

    Raises TableError where a table of another model has the typed name.
    """
    identity = own_identity(model)
    target = table_files.save_target(name if name.strip() else f"{plain_name(model)} {identity.weights[:8]}")
    if not name.strip():
        _NAMED[str(model_of_executing_node())] = target.name
        while len(_NAMED) > MOST_NAMED:
            del _NAMED[next(iter(_NAMED))]
    held = table_files.held(target)
    if held is not None and held.metadata.get("fingerprint") != identity.fingerprint:
        values = {"name": target.name, "model": held.metadata.get("model", "")[:200]}
        raise NotedTableError(Note("name_of_another", values))
    return target


def _metadata(run: CalibrationRun, seed: int, name: str) -> dict[str, str]:
    """Describe how a table was measured; an unfinished one goes on only where all of this is the same."""
    return {
        "name": name,
        "fingerprint": fingerprint(run.model),
        "model": readable_name(run.model),
        **describe(run.model),
        "sampler": run.sampler_name,
        **run.sampler_settings(),
        "scheduler": run.scheduler,
        "steps": str(run.steps),
        "sensitivities": run.sensitivities,
        "cfg": f"{run.cfg:g}" if run.negative is not None else "1",
        "seed": str(seed),
        "conditioning": digest([run.positive, run.negative]),
        "weights": weights_digest(run.model),
        "loras": loras_digest(run.model),
        "latent_shape": ", ".join("x".join(map(str, part.shape[1:])) for part in run.latent_parts()),
        "source": "videos" if run.from_videos else "own trajectories",
        "latents": run.latents_digest(),
        "dtype": str(run.model.model_dtype()).removeprefix("torch."),
    }


def _measure(
    run: CalibrationRun, samples: int, seed: int, target: table_files.SaveTarget
) -> tuple[SensitivityTable, str]:
    metadata = _metadata(run, seed, target.name)
    calibration = Calibration(samples, metadata, table_files.load_earlier(target, metadata))
    resumed, each = calibration.done, run.expected_evaluations()
    logger.info("SenCache: calibration. %s", sentence(cost_of(max(0, samples - resumed) * each)))
    about = {"samples": samples, "samples_done": resumed, "resumed": resumed, "table": target.name}
    live = LiveCalibration.begin(about, samples * each, min(resumed, samples) * each)
    held = table_files.held(target)
    replaced = held is not None and dict(held.metadata) != metadata
    complete, told = False, {}
    try:
        evaluations = _sample_all(run, calibration, samples, seed, target, live)
        table = rounded(calibration.finished)
        table_files.save_finished(target, table)
        gains = expected_gains(run, table)
        complete, told = True, {"gains": gains, "replaced": replaced}
    finally:
        if live is not None:
            live.finish(complete, **told)
    return table, as_text(table, target, evaluations, resumed, replaced) + "\n" + in_words(gains, run)


def _sample_all(
    run: CalibrationRun,
    calibration: Calibration,
    samples: int,
    seed: int,
    target: table_files.SaveTarget,
    live: LiveCalibration | None,
) -> int:
    """Measure what is still missing, keeping each finished sample; return the evaluations it took."""
    each = run.expected_evaluations()
    bar = comfy.utils.ProgressBar(samples * each)
    evaluations = 0
    _show_curves(live, calibration)
    while calibration.finished is None or calibration.done < samples:
        position = calibration.done * each

        def advance() -> None:
            nonlocal position
            position += 1
            bar.update_absolute(min(position, samples * each))
            if live is not None:
                live.advance(min(position, samples * each))

        probe, spent = run.sample((seed + calibration.done) % 2**64, advance)
        evaluations += spent
        table_files.save_partial(target, calibration.add(probe))
        _show_curves(live, calibration)
    bar.update_absolute(samples * each)
    return evaluations


def _show_curves(live: LiveCalibration | None, calibration: Calibration) -> None:
    table = calibration.finished
    if live is None or table is None:
        return
    curves = {name: table.mean(name) for name in ("latent_sensitivity", "time_sensitivity", "alignment")}
    live.curves(calibration.done, {"timestep": table.timestep.tolist(), **curves})
