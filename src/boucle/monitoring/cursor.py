"""How far a stream's prediction log has been read."""

from datetime import datetime

from msgspec import Struct, field


class Cursor(Struct, frozen=True, kw_only=True):
    """How far a stream's log has become windows."""

    sequence: int = 0
    """Counts the changes: who writes the next one must know the newest."""
    segments: dict[int, int] = field(default_factory=dict)
    """From where each segment is to be read; -1: it is done."""
    done_below: int = 0
    """Every segment before this one is done."""
    newest: datetime | None = None
    """Event time of the newest row."""
    closed_through: datetime | None = None
    """End of the newest closed window by time."""
    closed: int = 0
    """Windows by count that are closed."""
    too_late: int = 0
    """Rows that came too late for any window, and are in none."""
    unanswered: dict[str, tuple[int, int]] | None = None
    """Requests that were refused, and that failed, as each worker's file had counted them when the newest window
    closed; None: not known."""
    refused_for: dict[str, dict[int, int]] | None = None
    """Why they were refused, in the same way, see `boucle.serving.refusals`."""
