"""What pages and server tell each other: one schema, checked here and by the types of `web/`.

`python tests/support/typescript.py` writes `web/wire.d.ts` from these models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ...caching.notes import Note

Text = Annotated[str, StringConstraints(max_length=200)]
Plain = bool | int | float | Text | None
Values = dict[str, str | int | float]
Governs = Literal["speed", "epsilon", "exact", "off"]
MAX_STEPS = 1000


class QuestionError(ValueError):
    """A question that the panel would not ask."""


class Question(BaseModel):
    """What a page asks: nothing but what is named here, and no number that is none."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Told(BaseModel):
    """What the server tells a page."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def plain(self) -> dict[str, Any]:
        """Return the values, JSON-ready."""
        return self.model_dump(mode="json")


class Sampling(Question):
    """What the graph says of the sampling; null is what it does not say, and the table answers."""

    steps: Annotated[int, Field(ge=0, le=10**6)] | None = None
    scheduler: Text | None = None
    sampler: Text | None = None
    cfg: Annotated[float, Field(ge=0, le=1e3)] | None = None
    denoise: Annotated[float, Field(ge=0, le=1)] = 1.0
    start: Annotated[int, Field(ge=0, le=10**6)] = 0
    end: Annotated[int, Field(ge=0, le=10**6)] | None = None
    shift: Annotated[float, Field(ge=1e-3, le=1e3)] | None = None
    sigmas: Text | None = None  # the node type that gives the sampler its sigmas
    leftover_noise: Text | None = None  # "disable": a run that ends early still ends without noise


class Model(Question):
    """What ties tables to a model, as its last run told."""

    fingerprint: Text
    weights: Text


class PlanQuestion(Question):
    """What a run would do: the node's widgets, the names of tables to try in turn, and the embedded one.

    `model` is the node's own, where its last run is known to have had the same. `connected` tells that the
    named table comes from another node.
    """

    settings: Annotated[dict[Text, Plain], Field(max_length=64)] = {}
    sampling: Sampling = Sampling()
    tables: Annotated[list[Text], Field(max_length=16)] = []
    embedded: str = ""
    model: Model | None = None
    connected: bool = False


class CostQuestion(Question):
    """What a calibration would cost; `video_steps` are those of the artist's own sampler."""

    steps: Annotated[int, Field(ge=1, le=10_000)]
    samples: Annotated[int, Field(ge=1, le=10_000)]
    sensitivities: Text | None = None
    video_steps: Annotated[int, Field(ge=1, le=10_000)] | None = None


class EmbedQuestion(Question):
    """A table file, wanted as text."""

    table: str


class SaveQuestion(Question):
    """An embedded table, to be written to a file."""

    text: str


class TakeQuestion(Question):
    """A table file from another machine, its bytes in base64."""

    data: str


class NoteTold(Told):
    """A sentence: `code` names it in `locales/*/main.json`, `values` fill its gaps."""

    code: str
    values: Values

    @classmethod
    def of(cls, note: Note) -> NoteTold:
        """Return a note as it is told."""
        return cls(code=note.code, values=dict(note.values))


class Problem(NoteTold):
    """Why there is no answer; `text` is the English sentence, for whoever asks without a page."""

    text: str


class Refused(Told):
    """An answer in whose place there is a problem."""

    problem: Problem


class Cell(Told):
    """One evaluation that is expected, or was made; what was `missed` and `expected` where it was checked."""

    reuse: bool
    reason: str
    score: float | None
    missed: float | None = None
    expected: float | None = None


class TableTold(Told):
    """The table that a plan is made of."""

    name: str
    source: str
    model: str
    fingerprint: str


class Gain(Told):
    """What a speed-up gives: `error` (rms of the finished latent) and its word; null where none is known."""

    speed_up: float
    nfe: int
    error: float | None
    visibility: str | None


class Offer(Gain):
    """A speed to choose: what it is called, and what it really gives."""

    target: float


class PlanTold(Told):
    """The run that is expected.

    `governs` names what decides, `gains` are the speeds to choose from, and `scale` all speeds that the run
    can have, the slowest first.
    """

    nfe: int
    evaluations: int
    speed_up: float
    predicted_error: float | None
    visibility: str | None
    rule: str
    governs: Governs
    cells: list[Cell]
    steps: int
    scheduler: str
    steps_known: bool
    table: TableTold
    gains: list[Offer]
    scale: list[Gain]
    notes: list[NoteTold]


class CostTold(NoteTold):
    """A calibration's cost in a sentence, and in evaluations."""

    evaluations: int


class EmbedTold(Told):
    """A table as text."""

    text: str


class SaveTold(Told):
    """The file that holds an embedded table; `there` where it was there before."""

    name: str
    there: bool


class TakenTold(Told):
    """Where a table went: `merged` with one of its model, `there` where its samples were there before."""

    name: str
    samples: int
    merged: bool
    there: bool


class NewsQuestion(Question):
    """Which workflow's news are wanted, by its id, and by which browser: others' are their own."""

    workflow: Text
    client: Text


class PanelsTold(Told):
    """Every language's texts, by locale, part and name."""

    texts: dict[str, dict[str, dict[str, str]]]


class StepMade(Told):
    """One evaluation of a finished run."""

    sigma: float
    action: Literal["compute", "reuse"]
    reason: str
    score: float | None
    limit: float | None
    seconds: float
    missed: float | None
    expected: float | None


class RunTold(Told):
    """A finished run; in each of the sampler's `steps_asked` it may evaluate the model more than once."""

    evaluations: int
    steps_asked: int | None
    nfe: int
    reused: int
    reuse_ratio: float
    speed_up: float
    aim: Governs
    seconds: float
    seconds_uncached: float
    time_speed_up: float
    seconds_computed: float | None
    seconds_reused: float | None
    seconds_saved: float
    reasons: dict[str, int]
    planned: int | None
    predicted_error: float | None
    visibility: str | None
    surprise: float | None
    complete: bool
    node_id: str | None
    prompt: str | None
    table: str
    notes: list[NoteTold]
    steps: list[StepMade]


class SettingTold(Told):
    """What was set in a node of the prompt, but for what was linked."""

    class_type: str | None
    inputs: dict[str, str | int | float | bool]


class RunAbout(Told):
    """What the history of a Cache Stats keeps of a prompt: settings by node, and a picture as a data URL."""

    node: str | None
    workflow: str | None
    settings: dict[str, SettingTold]
    thumbnail: str | None


class ComparisonTold(Told):
    """A comparison: its sentences, and the frames that the panel plays at `fps`.

    `files` hold `numbers` of `count` frames, each the reference, the faster one and their difference, `gain`
    times amplified, side by side; all of `width x height` pixels. Without files there is only what is said.
    """

    node: str | None
    workflow: str | None
    notes: list[NoteTold]
    files: list[str]
    subfolder: str
    width: int
    height: int
    numbers: list[int]
    count: int
    fps: float
    gain: int


class Event(Told):
    """News for the page that queued a prompt: its workflow, the prompt, and the node that works."""

    workflow: str | None = None
    prompt: str = ""
    node: str = ""


class RunEvent(Event):
    """A run goes on, or has ended.

    `cells` are `[reused, score, reason]` of the evaluations so far; `summary` ends the run.
    """

    stats: list[str]
    expected: int
    notes: list[NoteTold]
    cells: list[tuple[bool, float | None, str]] | None = None
    summary: RunTold | None = None


class MeasuredEvent(Event):
    """There is a new table; named to the page that queued alone."""

    table: str = ""


class ModelEvent(Event):
    """A Model Patch has its model; the page then knows which tables are of it."""

    fingerprint: str
    weights: str


class CalibrationEvent(Event):
    """A calibration goes on, or has ended; `curves` by name, over model time."""

    state: Literal["running", "finished", "stopped"]
    samples: int
    samples_done: int
    resumed: int
    done: int
    total: int
    table: str
    replaced: bool = False
    seconds_left: float | None = None
    seconds_each: float | None = None
    curves: dict[str, list[float]] | None = None
    gains: list[Offer] = []


class NewsTold(Told):
    """The last news of each node of a workflow, for a page that was loaded in the middle."""

    runs: list[RunEvent]
    calibrations: list[CalibrationEvent]


SPOKEN: tuple[type[BaseModel], ...] = (
    PlanQuestion, CostQuestion, EmbedQuestion, SaveQuestion, Refused, PlanTold, CostTold, EmbedTold, SaveTold,
    TakeQuestion, TakenTold,
    PanelsTold, RunTold, RunAbout, ComparisonTold, RunEvent, MeasuredEvent, ModelEvent, CalibrationEvent,
    NewsQuestion, NewsTold,
)  # fmt: skip


Asked = TypeVar("Asked", bound=Question)


def read(kind: type[Asked], question: Any) -> Asked:
    """Check a question; raises QuestionError that names what is wrong with it."""
    try:
        return kind.model_validate(question)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(one)[:40] for one in first["loc"][:3]) or "the question"
        raise QuestionError(f"{place}: {first['msg']}"[:200]) from None
    except RecursionError:
        raise QuestionError("the question is too deep") from None
