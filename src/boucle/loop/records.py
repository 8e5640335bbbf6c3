"""The nouns of the loop: facts in, actions out."""

from datetime import date, datetime
from typing import Literal

from msgspec import Struct, field

from boucle.evaluation.records import Comparison
from boucle.kernel.digests import Digest
from boucle.project.records import LoopSection, Project
from boucle.serving.records import Served

# --- what decide() sees and says ----------------------------------------------------------------------------------


class ChampionFacts(Struct, frozen=True, kw_only=True):
    """The version in charge."""

    number: int
    metric_at_promotion: float | None
    """The loop's metric in the champion's own evaluation; None where it has none."""
    promoted_on: date
    previous: int | None
    """Version that was in charge before, if a rollback to it is still possible."""
    burned: list[str] = field(default_factory=list)
    """Ids of the alerts about the service that were open when it was promoted, or tell of a time before that."""
    barred: str = ""
    """Why governance does not let the version before take charge again; empty if it does."""


class ChallengerFacts(Struct, frozen=True, kw_only=True):
    """A trained candidate that waits for a verdict."""

    number: int
    gates_passed: bool
    gates_message: str
    comparison: Comparison | None
    slices: list["SliceCompared"] = field(default_factory=list)
    """The same on the slices that a policy asks for, of as many rows as it asks for."""
    needs: list[str] = field(default_factory=list)
    """What persons must still do before it may take charge, live: the gates that wait for them."""
    rollout: "RolloutFacts | None" = None
    """How its rollout stands; None where there are no steps to take."""
    newest: Comparison | None = None
    """The same on the newest labelled rows, where some came after those that it was compared on."""
    waits_since: date | None = None
    """The day of its training, of the newest step of its rollout, or since which another champion is in charge."""


class Figures(Struct, frozen=True, kw_only=True):
    """How a version answers."""

    requests: int = 0
    errors: int = 0
    """Of these it failed at."""
    p95_ms: float | None = None
    """Within which 95 % were answered; None where nothing was, and of a shadow."""

    @property
    def error_rate(self) -> float:
        """Share of the requests that it failed at; 0 of none."""
        return self.errors / self.requests if self.requests else 0.0


class RolloutFacts(Struct, frozen=True, kw_only=True):
    """How the newest step of a rollout stands."""

    step: int = 0
    """From 1 on; 0: not begun."""
    hours: float = 0.0
    """Since it began."""
    challenger: Figures = field(default_factory=Figures)
    champion: Figures = field(default_factory=Figures)
    """Both since the step began."""
    labels: int = 0
    """Labelled rows that were served since the step began ..."""
    comparison: Comparison | None = None
    """... and what both answer on them; None where they are too few to compare, or do not define the metric."""
    problem: str = ""
    """Why the step cannot be taken: the endpoint does not take it, or cannot load it."""
    others: str = ""
    """What a person put at the endpoint where this step would be."""
    at: datetime
    before: list[Served] = field(default_factory=list)
    """What champion and challenger had been asked in all by now."""


class SliceCompared(Struct, frozen=True, kw_only=True):
    """Champion and challenger on the labelled rows of one value of a column."""

    column: str
    value: str
    comparison: Comparison


class Looked(Struct, frozen=True, kw_only=True):
    """What is known of champion and challenger."""

    comparison: Comparison | None
    """On the rows of the verdict; None where they do not define the metric."""
    slices: list[SliceCompared]
    through: date | None = None
    """The newest event day of these rows; None as long as they are too few."""
    newest: Comparison | None = None
    """On the newest rows, where some are newer."""


class Asked(Struct, frozen=True, kw_only=True):
    """A training that a person asks for."""

    id: str
    by: str
    at: datetime
    why: str


class Facts(Struct, frozen=True, kw_only=True):
    """Everything a decision may depend on; wall-clock facts included. No I/O behind it."""

    today: date
    champion: ChampionFacts
    challenger: ChallengerFacts | None
    last_trained_on: date
    performance: float | None
    """The loop's metric over what the champion itself answered on the newest labelled days; None without any."""
    performance_rows: int
    drifted: list[list[str]]
    """Columns that drifted, one list a day, oldest first, newest last; quarantined days left out."""
    quarantined_today: list[str]
    """Columns of today's quarantining findings."""
    metric: str = "auc_roc"
    """What `performance` and the champion's `metric_at_promotion` are."""
    previous_comparison: Comparison | None
    """The version before (as challenger) against the champion, on labelled rows served since the promotion."""
    at: datetime | None = None
    """The end of the window; None: of today."""
    new_rows: int | None = None
    """Rows served since the last training whose labels had time to come; None where no policy asks."""
    trained_on: list[date] = field(default_factory=list)
    """Days of the trainings of the newest seven days, where a policy asks."""
    trained_minutes: float = 0.0
    """How long these took, where a policy asks."""
    estimates: list[float] = field(default_factory=list)
    """The metric as the answers of each trusted window since the promotion promise it, oldest first, where a policy
    asks; windows of which it cannot be told, or that another version answered a part of, are left out."""
    objective: float | None = None
    """What the project's objective asks of the metric; None if it has none."""
    asked: Asked | None = None
    """The oldest training that a person asked for and that was not begun."""
    service: list[Figures] = field(default_factory=list)
    """Live, while there is a version to go back to: how the champion answers, and how the one before did."""
    burning: dict[str, str] = field(default_factory=dict)
    """Live: what the open alerts about the service say, by their ids, where a policy asks."""
    failures: int = 0
    """Trainings in a row of which no version came ..."""
    failed_on: date | None = None
    """... the day of the newest ..."""
    failed_request: str | None = None
    """... the request that was to be met by it, where facts were kept before there were more of them, ..."""
    failed_requests: list[str] = field(default_factory=list)
    """... and the requests that were to be met by these."""
    changed_on: date | None = None
    """The day of the newest change that lasted, where a policy asks and there was one."""


class Retrain(Struct, frozen=True, kw_only=True, tag_field="action", tag="retrain"):
    """Train a challenger."""

    reason: str
    trigger: Literal["decay", "drift", "new_rows", "schedule", "drill", "estimate", "manual"]
    request: str | None = None
    """Of a manual one: which request is met by it."""


class Promote(Struct, frozen=True, kw_only=True, tag_field="action", tag="promote"):
    """Put the challenger in charge."""

    number: int
    reason: str
    burned: list[str] = field(default_factory=list)
    """Ids of the alerts about the service that were open then, which are not its fault."""


class Advance(Struct, frozen=True, kw_only=True, tag_field="action", tag="advance"):
    """Take the next step of a challenger's rollout."""

    number: int
    step: int
    """From 1 on."""
    role: Literal["shadow", "canary"]
    percent: float
    """Of the questions; 0 for a shadow."""
    reason: str
    at: datetime
    before: list[Served] = field(default_factory=list)
    """What champion and challenger had been asked in all by then."""


class Refuse(Struct, frozen=True, kw_only=True, tag_field="action", tag="refuse"):
    """Turn the challenger down."""

    number: int
    reason: str


class Rollback(Struct, frozen=True, kw_only=True, tag_field="action", tag="rollback"):
    """Put the version before back in charge."""

    number: int
    reason: str


class Hold(Struct, frozen=True, kw_only=True, tag_field="action", tag="hold"):
    """Do nothing although something asks for action, and say why."""

    reason: str


Action = Retrain | Promote | Advance | Refuse | Rollback | Hold


class Decision(Struct, frozen=True, kw_only=True):
    """An action that was carried out."""

    id: str
    """`<stream>/<day>/<n>`; commits once."""
    stream: str
    day: date
    action: Action
    outcome: str
    version: int | None = None
    window: str | None = None
    """Key of the window on which it was taken, if that is not the day."""
    facts: Facts | None = None
    """What it was decided on; None for a drill, and for what was decided before facts were kept."""
    policy: LoopSection | None = None
    """By which it was decided."""
    minutes: float | None = None
    """How long a training took that the live loop did."""
    failed: bool = False
    """Of a training: no version came of it."""


class Trained(Struct, frozen=True, kw_only=True):
    """What a training came to."""

    number: int | None
    """None if it failed."""
    outcome: str
    minutes: float | None = None


class Job(Struct, frozen=True, kw_only=True):
    """An action that is being carried out; it becomes a decision of the same id when it is done."""

    id: str
    stream: str
    day: date
    window: str
    """Key of the window on which it was decided."""
    action: Action
    state: Literal["running", "trained", "done", "dropped", "asked"]
    """`trained`: the work is done and waits to be recorded. `dropped`: nothing came of it, and it is decided anew.
    `asked`: a person asks for it, and no action was decided on yet; it is done when one is begun."""
    epoch: int
    """Of the stream, when it was begun or taken over."""
    attempts: int = 1
    first: date | None = None
    """Of a training: the oldest and the newest event day that is learned from, and a name for what lies there."""
    through: date | None = None
    rows: Digest | None = None
    newest_rows: int | None = None
    """Of a training: it learns from this many newest rows only."""
    asked: Asked | None = None
    """Of a job that a person asks for."""
    shuffle_labels: bool = False
    trained: Trained | None = None
    facts: Facts | None = None
    policy: LoopSection | None = None
    """As its decision will have them."""
    project: Project | None = None
    """Of a live training: boucle.yaml as it was when it was decided on, without the routes of alerts."""


class Stream(Struct, frozen=True, kw_only=True):
    """One line of served history under the loop: a replay, or live."""

    stream: str
    sequence: int
    """Largest for the stream at which somebody was set to work last: it was begun, gone on with, or taken over."""
    epoch: int
    """Grows with every process that takes the stream over; only the newest may commit."""
    first_version: int
    done_through: date | None = None
    complete: bool = False
    done_window: str | None = None
    """Of the live stream: key of the newest window that was decided on."""
    holder: str | None = None
    """Of the live stream: the process that decides."""
    renewed: int | None = None
    """How often it said that it is still at work."""
