"""What the server's main process tells its workers; without all that they load, which would keep it waiting."""

from typing import TYPE_CHECKING

from msgspec import Struct, field

from boucle.packaging.trust import Trust
from boucle.serving.records import LimitsSection

if TYPE_CHECKING:
    from boucle.app.worker import Worker


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """What a worker needs to know; it travels to the worker's process."""

    home: str
    board: str
    """Where the memory of the server is opened."""
    workers: int = 1
    lazy: bool = False
    """Whether the models that are there from the start are loaded when they are first asked; a server of one loads it
    before it is ready."""
    model_root: str | None = None
    """Folder that models may be loaded from meanwhile."""
    has_store: bool = False
    """Whether the server knows the users of the store, so that they count here."""
    max_body_bytes: int = 32 << 20
    max_rows: int = 100_000
    limits: LimitsSection = field(default_factory=LimitsSection)
    most_bytes: int | None = None
    """Of the files of models that are loaded at once."""
    names: list[str] = field(default_factory=list)
    anyone: bool = False
    """Whether whoever reaches the address may ask, by whatever name."""
    grpc: str | None = None
    """`HOST:PORT` to answer gRPC at."""
    tls: tuple[str, str] | None = None
    """Files of the certificate and the key, for gRPC; HTTPS is granian's."""
    trust: Trust = Trust()
    """What it opens."""
    access_log: str | None = None
    """File of the access log, `-` for standard output."""


def make_worker(settings: WorkerSettings, number: int) -> "Worker":
    """For the worker's process: the app that it runs."""
    from boucle.app.worker import Worker

    return Worker(settings, number)
