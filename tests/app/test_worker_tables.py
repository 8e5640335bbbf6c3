"""A real server is sent tables that unfold to gigabytes, and garbage: it refuses them, and its memory stays flat."""

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import polars as pl
import pytest

from boucle.serving.api import ServerProcess, read_ack

pytestmark = pytest.mark.slow

PARQUET = "application/vnd.apache.parquet"
STREAM = "application/vnd.apache.arrow.stream"
LONG_TEXTS = Path(__file__).parents[1] / "protocols" / "long_texts.parquet"
"""1.5 KB; a column that names one text of 60,000 characters 100,000 times."""
TABLE = pl.DataFrame({"carrier": ["AA", None], "temp": [80.0, None]})


class Served(NamedTuple):
    client: httpx.Client
    memory_kb: Callable[[], int]
    expected: list[float]


@pytest.fixture(scope="module")
def served(shared_home: Any) -> Iterator[Served]:
    shared_home.deploy(3)

    def memory_kb() -> int:
        ack = read_ack(shared_home.path, "flights")
        status = Path(f"/proc/{ack.workers[0]}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    expected = [shared_home.probability("AA", 80.0), shared_home.probability(None, None)]
    with ServerProcess(shared_home.path, "flights") as url, httpx.Client(base_url=url, timeout=60) as client:
        yield Served(client, memory_kb, expected)


def written(write: str, frame: pl.DataFrame, **how: Any) -> bytes:
    stream = io.BytesIO()
    getattr(frame, write)(stream, **how)
    return stream.getvalue()


def texts() -> pl.DataFrame:
    """One text of 60,000 characters, named 100,000 times."""
    column = pl.Series("carrier", ["x" * 60_000]).gather([0] * 100_000)
    return pl.DataFrame({"carrier": column, "temp": np.zeros(100_000)})


def is_well(served: Served) -> None:
    answer = served.client.post("/arrow/models/flights/predict", content=ARROW, headers={"content-type": STREAM})
    assert pl.read_ipc_stream(answer.content)["probability"].to_list() == pytest.approx(served.expected)


ARROW = written("write_ipc_stream", TABLE)


def long_texts(*names: str) -> bytes:
    """A table with columns that each name one text of 60,000 characters 700 times, which is 42 MB."""
    column = pl.Series(["x" * 60_000], dtype=pl.Enum(["x" * 60_000])).gather([0] * 700)
    frame = pl.DataFrame({"carrier": ["AA"] * 700, "temp": np.zeros(700)})
    return written("write_ipc_stream", frame.with_columns(column.alias(name) for name in names))


REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    (PARQUET, LONG_TEXTS.read_bytes, "bytes of text; at most"),
    (PARQUET, lambda: written("write_parquet", TABLE.clear(100_001)), "100,001 rows in one request"),
    (PARQUET, lambda: b"PAR1" + b"\xff" * 500 + b"PAR1", "the Parquet file cannot be read"),
    (PARQUET, lambda: written("write_parquet", TABLE)[:-9], "the Parquet file cannot be read"),
    (PARQUET, lambda: written("write_parquet", TABLE.with_columns(temp=pl.lit("x"))), "has the type String"),
    (STREAM, lambda: written("write_ipc_stream", texts()), "bytes of text; at most"),
    (STREAM, lambda: long_texts("carrier", "flight_id"), "84,000,000 bytes of text; at most"),
    (STREAM, lambda: written("write_ipc_stream", TABLE, compression="zstd"), "the Arrow stream is compressed"),
    (STREAM, lambda: written("write_ipc_stream", TABLE.clear(100_001)), "100,001 rows in one request"),
    (STREAM, lambda: ARROW[:-40], "not all of one"),
    (STREAM, lambda: b"ARROW1" + bytes(100), "no Arrow IPC stream"),
    (STREAM, lambda: written("write_ipc_stream", TABLE.with_columns(carrier=pl.lit(7))), "the type Int32"),
    (STREAM, lambda: written("write_ipc_stream", TABLE.with_columns(temp=pl.lit("x"))), "the type String"),
]


@pytest.mark.parametrize(("said", "body", "message"), REFUSED, ids=map(str, range(len(REFUSED))))
def test_tables_that_unfold_or_cannot_be_read_are_refused(
    served: Served, said: str, body: Callable[[], bytes], message: str
) -> None:
    is_well(served)
    before = served.memory_kb()
    answer = served.client.post("/invocations", content=body(), headers={"content-type": said})
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["message"]
    is_well(served)
    assert served.memory_kb() - before < 100_000


def test_columns_that_the_model_does_not_know_cost_nothing(served: Served) -> None:
    is_well(served)
    before = served.memory_kb()
    body, headers = long_texts(*map("unknown{}".format, range(30))), {"content-type": STREAM}
    answer = served.client.post("/arrow/models/flights/predict", content=body, headers=headers)
    assert (answer.status_code, "unknown input 'unknown0'" in answer.json()["error"]) == (400, True)
    assert served.client.post("/invocations", content=body, headers=headers).status_code == 200
    assert served.memory_kb() - before < 100_000


def test_moments_and_keys_may_come_typed(served: Served) -> None:
    moments = pl.Series([0, 1]).cast(pl.Datetime("us", "Europe/Paris"))
    typed = TABLE.with_columns(flight_id=pl.Series([1, 2]), scheduled_at=moments).cast({"carrier": pl.Categorical})
    for write, said in (("write_parquet", PARQUET), ("write_ipc_stream", STREAM)):
        answer = served.client.post("/invocations", content=written(write, typed), headers={"content-type": said})
        assert [row["probability"] for row in answer.json()["predictions"]] == pytest.approx(served.expected)
    naive = typed.with_columns(scheduled_at=pl.Series([0, 1]).cast(pl.Datetime("us")))
    body = written("write_ipc_stream", naive)
    answer = served.client.post("/invocations", content=body, headers={"content-type": STREAM})
    assert "is no moment in ISO 8601 with a zone" in answer.json()["message"]


@pytest.mark.long
def test_hundreds_of_broken_tables_leave_the_worker_as_it_was(served: Served) -> None:
    made = random.Random(3)
    good = {STREAM: ARROW, PARQUET: written("write_parquet", TABLE)}
    before = served.memory_kb()
    for turn in range(400):
        said = PARQUET if turn % 40 == 0 else STREAM
        body = bytearray(good[said])
        for _ in range(made.choice([1, 2, 8])):
            at = made.randrange(len(body))
            body[at : at + made.choice([0, 1, 8])] = made.choice([b"\xff", b"\0" * 8, b"\xff" * 7 + b"\x7f", b""])
        answer = served.client.post("/invocations", content=bytes(body), headers={"content-type": said})
        assert answer.status_code in (200, 400), answer.text
    is_well(served)
    assert served.memory_kb() - before < 100_000
