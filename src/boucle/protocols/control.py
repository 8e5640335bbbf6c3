"""What the handlers of the control plane work on."""

from dataclasses import dataclass
from pathlib import Path

from boucle.kernel.store import Store


@dataclass(frozen=True, slots=True)
class Control:
    """An open store and what the server was started with. Safe for many threads.

    Each protocol makes its surface of it: `surface(control) -> Surface`.
    """

    store: Store
    default_project: str
    """Whose a request is that names no project."""
    folder: Path | None = None
    """Of that project: holds boucle.yaml. None where there is none."""
