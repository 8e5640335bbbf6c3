"""What a program says at once may be much, or of any kind: it comes into the store whole."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sqlalchemy import select

import boucle
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.runs.api import get_run
from boucle.runs.client.destination import Destination
from boucle.runs.client.feeds import Feed
from boucle.runs.client.targets import open_target
from boucle.runs.spool.frames import LARGEST
from boucle.runs.spool.records import ENCODER, Begin, Points
from boucle.runs.spool.spool import Spool
from boucle.runs.tables import datasets

pytestmark = pytest.mark.slow


def test_more_than_a_record_holds_comes_in_several(home: Path, opened: Store) -> None:
    params = {f"p{number}": "x" * 5990 for number in range(200)}
    tags = {f"t{number}": "y" * 7990 for number in range(150)}
    later = {f"q{number}": "z" * 5990 for number in range(200)}
    metrics = {f"m{number:04}" + "n" * 111: float(number) for number in range(9000)}
    with boucle.start_run(params=params, tags=tags, seed=3, home=home) as run:
        run.log_params(later)
        run.log(metrics)
        assert run.flush(30)
        assert run.dropped == 0
    found = get_run(opened, run.id)
    assert found.params == {**params, **later, "seed": 3}
    assert found.tags.items() >= tags.items()
    assert found.tags["boucle.seed"] == "3"
    assert found.metrics == metrics


@pytest.mark.parametrize("room", [0, 1, 12])
def test_the_largest_records_hold_up_nothing_that_follows(home: Path, root: Path, opened: Store, room: int) -> None:
    where = Destination(home=str(home))
    spool = Spool(root, where.encoded(), ENCODER.encode(Begin("a" * 32, "e", "n", "u", 1, {}, {}, is_owner=True)))
    feed = Feed(spool, open_target(where), "here")
    name = "n" * (LARGEST - room)
    payload = ENCODER.encode(Points(1, 0, {name: 1.0}))
    name = name[len(payload) - len(name) :]
    largest = ENCODER.encode(Points(1, 0, {name: 1.0}))
    assert len(largest) == LARGEST - room
    assert spool.append(largest)
    assert spool.append(ENCODER.encode(Points(1, 0, {"loss": 0.5})))
    while feed.send():
        pass
    assert feed.is_sent
    assert get_run(opened, "a" * 32).metrics == {"loss": 0.5}
    spool.leave(remove=True)
    feed.target.close()


def test_numbers_of_other_kinds_are_taken(home: Path, opened: Store) -> None:
    seed = 2**127 + 1
    with boucle.start_run(params={"rate": np.float64(0.5), "on": True}, seed=seed, home=home) as run:
        run.log_params({"text": np.str_("a"), "huge": 10**5000})
        run.log("loss", np.float32(0.25), step=np.int64(2), at_ms=np.int64(5))
        run.log({np.str_("auc"): 0.5})
        run.log_params({np.str_("named"): "b"})
        run.set_tags({np.str_("team"): np.str_("c")})
    found = get_run(opened, run.id)
    huge = found.params.pop("huge")
    assert found.params == {"rate": 0.5, "on": True, "seed": str(seed), "text": "a", "named": "b"}
    assert found.tags["team"] == "c"
    assert isinstance(huge, str)
    assert int(huge, 16) == 10**5000
    assert found.metrics == {"loss": 0.25, "auc": 0.5}


def test_what_no_number_holds_is_told_at_once(home: Path) -> None:
    with boucle.start_run(home=home) as run:
        calls: list[tuple[Callable[[], Any], str]] = [
            (lambda: run.log("a", 10**400), "metric 'a' is too large"),
            (lambda: run.log("a", 1.0, step=10**5000), "step has 16610 bits"),
            (lambda: run.log("a", 1.0, at_ms=-1), "at_ms is out of range"),
            (lambda: run.log("a", 1.0, at_ms="x"), "at_ms is 'x'"),  # type: ignore[arg-type]
            (lambda: run.log_dataset("a\0b", __file__), "dataset name"),
        ]
        for call, words in calls:
            with pytest.raises(InvalidInput, match=words):
                call()


def test_an_artifact_that_no_store_takes_is_refused_at_the_call(home: Path) -> None:
    with boucle.start_run(home=home) as run:
        for name in ("t:1.txt", "x" * 300, "a\\b", "../up", "/etc/passwd", "a//b", "%2e%2e/up", ""):
            with pytest.raises(InvalidInput, match="is no name of an artifact"):
                run.log_text("1", name)


def test_a_tracked_function_gives_its_result_whatever_tracking_thinks_of_it(
    home: Path, opened: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BOUCLE_HOME", str(home))
    seen: list[boucle.ActiveRun] = []
    result = {"acc@1": 0.9, "auc": 0.8, "huge": 10**400}

    @boucle.tracked
    def fit(text: str, odd: str, number: int, *, run: boucle.ActiveRun) -> dict[str, float]:
        seen.append(run)
        assert (len(text), odd[0], number > 0) == (7000, "a", True)
        return result

    assert fit("x" * 7000, "a\0\udcff", 10**5000) is result  # type: ignore[call-arg]  # the run comes by itself
    found = get_run(opened, seen[0].id)
    assert (found.status, found.metrics) == ("finished", {"auc": 0.8})
    assert (found.params["text"], found.params["odd"]) == ("x" * 6000, "a??")
    assert seen[0].dropped == 2
    assert "'acc@1' of the result of 'fit' is not logged: name is 'acc@1'" in caplog.text

    @boucle.tracked
    def ends(*, run: boucle.ActiveRun) -> dict[str, float]:
        run.finish()
        return result

    assert ends() is result  # type: ignore[call-arg]


def test_a_dataset_may_lie_where_a_name_is_no_text(home: Path, tmp_path: Path, opened: Store) -> None:
    odd = tmp_path / b"rows\xff.csv".decode(errors="surrogateescape")
    odd.write_text("a\n1\n")
    with boucle.start_run(home=home) as run:
        digest = run.log_dataset("rows", odd)
        assert run.flush(30)
        assert run.dropped == 0
    assert len(digest) == 64
    assert msgspec.json.encode(get_run(opened, run.id).id)


def test_a_table_of_many_columns_is_told_without_their_names(home: Path, opened: Store) -> None:
    wide, narrow = (
        pl.DataFrame({f"column {at} of a wide table": [1, 2] for at in range(width)}) for width in (25_000, 2)
    )
    with boucle.start_run(home=home) as run:
        digests = [run.log_dataset("wide", wide), run.log_dataset("narrow", narrow)]
        run.log_dataset("of pandas", pd.DataFrame(np.zeros((2, 25_000))))
    schemas = {row.name: row for row in opened.read(lambda conn: conn.execute(select(datasets)).all())}
    assert [schemas[name].fingerprint for name in ("wide", "narrow")] == digests
    assert json.loads(schemas["wide"].schema) == json.loads(schemas["of pandas"].schema) == {"shape": [2, 25_000]}
    assert [one["name"] for one in json.loads(schemas["narrow"].schema)["columns"]] == [
        f"column {at} of a wide table" for at in range(2)
    ]
