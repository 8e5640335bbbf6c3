"""The doors by which spools are sent."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from boucle.identity.http import Request, Response
from boucle.kernel.care.turns import present_since
from boucle.kernel.digests import digest_bytes
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.runs.routes import routes
from boucle.runs.spool.frames import frame
from boucle.runs.spool.records import ENCODER, Artifact, Begin, Taken


def ask(store: Store, method: str, body: bytes, **values: str) -> bytes:
    (route,) = [one for one in routes(store) if one.method == method]
    answer = route.handler(Request(method, "", values=values, body=body, project="shop"))
    if not isinstance(answer, Response):
        answer = asyncio.run(answer)  # type: ignore[arg-type]
    assert isinstance(answer, Response)
    return bytes(answer.body)


def test_an_artifact_that_was_taken_keeps_nothing_else_from_collection(tmp_path: Path) -> None:
    content = b"a plot"
    digest = digest_bytes(content)
    records = (
        Begin("a" * 32, "e", "r", "ada", 5, {}, {}, True),
        Artifact("plot.png", digest, len(content), 6),
    )
    frames = b"".join(frame(ENCODER.encode(one)) for one in records)
    with Store.open(tmp_path / "home") as store:
        taken = msgspec.json.decode(ask(store, "POST", frames, spool="b" * 32), type=Taken)
        assert (taken.position, taken.missing) == (0, [digest])
        with pytest.raises(InvalidInput, match="the bytes have the digest"):
            ask(store, "PUT", b"another", digest=digest)
        ask(store, "PUT", content, digest=digest)
        taken = msgspec.json.decode(ask(store, "POST", frames, spool="b" * 32), type=Taken)
        assert (taken.position, taken.missing, taken.refused) == (len(frames), [], [])
        assert store.blobs.get(digest) == content
        assert present_since(store.blobs.root) is None
