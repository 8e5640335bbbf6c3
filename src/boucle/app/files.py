"""Answers with the bytes of a file, whole or one range of it (RFC 9110, 14). Python does not touch them."""

import re
from typing import Any, Final

from boucle.identity.http import FileResponse, Headers
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.kernel.paths import translate

_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})?-([0-9]{1,18})?")
_SAFE: Final = (
    # A file is what somebody stored. Opened in a browser it must not act as a page of this server.
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "sandbox"),
    ("accept-ranges", "bytes"),
)


class NoSuchRange(InvalidInput):
    """The file has no such bytes."""

    status = 416

    def __init__(self, asked: str, size: int) -> None:
        super().__init__(f"the range {asked[:100]!r} is outside the file of {size:,} bytes")
        self.size = size


def send_file(answer: FileResponse, headers: Headers, protocol: Any, *, head: bool) -> None:
    """Send a file, or the range of it that the request's headers ask for; NotFound if it is gone."""
    try:
        with translate(answer.path):
            size = answer.path.stat().st_size
    except FileNotFoundError:
        raise NotFound(f"the file {answer.path.name!r} is gone") from None
    asked = headers.get("range")
    # Without validators no If-Range can be met, and then the whole is the answer.
    span = None if asked is None or headers.get("if-range") is not None else span_of(asked, size)
    start, stop = span or (0, size)
    sent = [("content-type", answer.content_type), *_SAFE, *answer.headers, ("content-length", str(stop - start))]
    status = answer.status
    if span is not None:
        status = 206
        sent.append(("content-range", f"bytes {start}-{stop - 1}/{size}"))
    if head or start == stop:
        protocol.response_empty(status, sent)
    elif span is None:
        protocol.response_file(status, sent, str(answer.path))
    else:
        protocol.response_file_range(status, sent, str(answer.path), start, stop)


def span_of(asked: str, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last that a Range header asks for; None for all, NoSuchRange for none.

    >>> span_of("bytes=0-99", 1000), span_of("bytes=990-", 1000), span_of("bytes=-5", 1000), span_of("rows=1-2", 1000)
    ((0, 100), (990, 1000), (995, 1000), None)
    """
    match = _RANGE.fullmatch(asked.replace(" ", ""))
    if match is None or match.groups() == (None, None):
        return None  # several ranges, or another unit: RFC 9110 lets a server answer with the whole
    first, last = match.groups()
    if first is None:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last is not None else size)
        if last is not None and int(last) < start:
            return None  # not valid, so it is not there
    if start >= stop:
        raise NoSuchRange(asked, size)
    return start, stop
