"""The nouns of serving. Imported by the worker: only msgspec and the standard library."""

from msgspec import Struct, field

from boucle.kernel.digests import Digest


class Deployment(Struct, frozen=True, kw_only=True):
    """One model version behind an endpoint."""

    number: int
    bundle_digest: Digest
    path: str
    """Folder of the bundle, below the serving root."""


class Traffic(Struct, frozen=True, kw_only=True):
    """Desired state of an endpoint: one file, atomically renamed."""

    endpoint: str
    generation: int
    champion: Deployment


class Ack(Struct, frozen=True, kw_only=True):
    """What a worker answers to a traffic file: it serves that generation now, or why it cannot."""

    generation: int
    pid: int
    error: str | None = None


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
    inputs: dict[str, list[float | str | None]]
    outputs: dict[str, list[float | str]]
    event_time: list[str] | None = None
    """ISO 8601 in UTC, as declared by the client."""
    entity_key: list[str] | None = None


class ServingSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `serving` section of boucle.yaml."""

    host: str = "127.0.0.1"
    port: int = 8080
    max_body_mb: int = 32
    max_rows: int = 100_000
    names: list[str] = field(default_factory=list)
    """Further Host names that are answered."""
