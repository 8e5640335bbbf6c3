"""The ids of a replay's requests: by them what was replayed is told from what is live."""

import re
from datetime import date
from typing import Final

_FORM: Final = re.compile(r"(replay-[0-9a-f]{12})/(\d{4}-\d\d-\d\d)/\d{5,}", re.ASCII)


def request_id(stream: str, day: date, number: int) -> str:
    """The same batch has the same id when it is sent again after an interruption."""
    return f"{stream}/{day}/{number:05d}"


def replayed(request: str) -> tuple[str, date] | None:
    """Stream and day of an id of that form; None of any other. A client may have made it up: ask for the stream.

    >>> replayed(request_id("replay-0123456789ab", date(2013, 7, 15), 3))
    ('replay-0123456789ab', datetime.date(2013, 7, 15))
    >>> replayed("replay-2026-11-23-17"), replayed("replay-0123456789ab/2013-02-30/00000")
    (None, None)
    """
    found = _FORM.fullmatch(request)
    if found is None:
        return None
    try:
        return found[1], date.fromisoformat(found[2])
    except ValueError:
        return None
