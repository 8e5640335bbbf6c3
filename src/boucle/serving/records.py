"""The nouns of serving. Imported by the worker: only msgspec and the standard library."""

from datetime import datetime
from typing import Literal

from msgspec import Struct, field

from boucle.kernel.digests import Digest

Role = Literal["champion", "canary", "shadow"]
"""What a deployment does: answer, answer a share, or answer unheard."""


class Deployment(Struct, frozen=True, kw_only=True):
    """One model version behind an endpoint."""

    number: int
    bundle_digest: Digest
    path: str
    """Folder of the bundle, below the serving root."""
    model: str | None = None
    """Whose version it is; None is the model that the endpoint is named after."""
    source: str | None = None
    """What a client called the folder that it had the server load; None is one that nobody asked for."""
    signer: str | None = None
    """Public key in PEM, where a policy asks for a signature: what it did not sign is not loaded."""


class Canary(Struct, frozen=True, kw_only=True):
    """A deployment that answers a share of the questions."""

    deployment: Deployment
    weight: float
    """Percent, above 0 and below 100."""
    key: str | None = None
    """Column by whose value the share is drawn; None is the entity key of the signature."""


class Placed(Struct, frozen=True, kw_only=True):
    """The newest step of a rollout that the loop took at an endpoint."""

    number: int
    role: Literal["canary", "shadow"]
    since: datetime
    """When the step was decided on."""
    overruled: bool = False
    """Whether what has this role is another one since, or nothing, or has another share."""


class Traffic(Struct, frozen=True, kw_only=True):
    """Desired state of an endpoint: one file, atomically renamed."""

    endpoint: str
    generation: int
    champion: Deployment
    canary: Canary | None = None
    shadow: Deployment | None = None
    """Is asked what the others answered, for comparison only."""
    before: list[Deployment] = field(default_factory=list)
    """Those that were champion before, oldest first: where rolling back leads."""
    project: str | None = None
    """Whose it is: the project that deployed to it first. See `boucle.serving.owner` for records that do not say it."""
    placed: Placed | None = None
    """What the loop put there last; None if it never did, or before this was kept."""


class Served(Struct, frozen=True, kw_only=True):
    """What one version was asked."""

    requests: int = 0
    errors: int = 0
    """Of these it failed at."""
    buckets: list[int] = field(default_factory=list)
    """Answers by how long they took, see `boucle.serving.meter.BUCKETS_S`."""


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key by which an endpoint is asked: never with its secret, of which a hash is kept only."""

    id: str
    name: str
    """Whom it was made for."""
    secret_hash: str
    per_second: float | None = None
    """Requests that it may make, over all workers; None is without a limit."""
    place: int
    """Which of the server's counters is its own."""
    created_ms: int


class ApiKeys(Struct, frozen=True, kw_only=True):
    """The keys of an endpoint. Once there was one, nobody asks it without, unless it was opened again."""

    endpoint: str
    keys: list[ApiKey] = field(default_factory=list)
    open: bool = False
    """Whether it is asked without a key, as if there had never been one."""


class Ack(Struct, frozen=True, kw_only=True):
    """What the server answers to a traffic file: all its workers serve that generation now, or why they cannot."""

    generation: int
    pid: int
    """Of the first worker."""
    error: str | None = None
    shadow_error: str | None = None
    """Why the shadow is not asked; the others answer all the same."""
    workers: list[int] = field(default_factory=list)
    """Process ids, one for each worker."""


class Compared(Struct, frozen=True, kw_only=True):
    """How a shadow's answer compares with the one that was given."""

    number: int
    """Version that answered."""
    largest_difference: float
    """Between numbers that both answered."""
    differing_rows: int
    """Of which any output was another one."""


class PredictionFrame(Struct, frozen=True, kw_only=True):
    """What the prediction log keeps of one answered request; columns are as long as `rows`."""

    request_id: str
    endpoint: str
    number: int
    """Model version."""
    bundle_digest: Digest
    served_at: float
    """Seconds since the epoch, the server's clock."""
    latency_ms: float
    rows: int
    inputs: dict[str, list[float | str | list[float | None] | None]]
    """A row of a tensor is the list of its numbers."""
    outputs: dict[str, list[float | str]]
    event_time: list[str] | None = None
    """ISO 8601 in UTC, as declared by the client."""
    entity_key: list[str] | None = None
    role: Role = "champion"
    """What the version was to the endpoint. A shadow's frame was answered to nobody."""
    compared: Compared | None = None
    """Of a shadow."""


class LogSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of the prediction log once it is compacted: the `serving.log` section of boucle.yaml."""

    sample: float = 1.0
    """Share of the requests that are kept."""
    redact: list[str] = field(default_factory=list)
    """Columns that are kept without their values."""
    drop: list[str] = field(default_factory=list)
    """Columns that are not kept."""
    max_mb: int | None = None
    """Bound on the log's size: the oldest compacted parts go first."""


class LimitsSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a server lets wait, and how many: the `serving.limits` section of boucle.yaml."""

    deadline_ms: float | None = None
    """How long an answer is of use where the client does not say it; None is for ever."""
    wait_ms: float = 1000.0
    """Estimated wait for a model from which on who comes is turned away."""
    waiting: int = 4096
    """Requests that may wait for one model in one worker."""
    batch_ms: float = 10.0
    """Estimated work of requests that are computed together."""
    batch_rows: int = 1024
    """Rows of requests that are computed together."""
    idle_s: float = 60.0
    """How long a client may send nothing in the middle of a body."""
    drain_s: float = 5.0
    """How long after SIGTERM who still asks is answered."""


class ServingSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `serving` section of boucle.yaml."""

    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = None
    """Where gRPC is answered; nowhere without it."""
    workers: int = 1
    """Processes that answer."""
    memory_mb: int | None = None
    """Bounds the files of models that each worker has loaded at once."""
    max_body_mb: int = 32
    max_rows: int = 100_000
    names: list[str] = field(default_factory=list)
    """Further Host names that are answered."""
    limits: LimitsSection = field(default_factory=LimitsSection)
    log: LogSection = field(default_factory=LogSection)
