"""Search over runs gives what a plain reading of the language gives."""

import math
import operator
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from sqlalchemy import Connection, insert

from boucle.kernel.errors import InvalidInput
from boucle.kernel.search.parser import parse_filter, parse_orders
from boucle.kernel.search.records import Clause, Key
from boucle.kernel.store import Store
from boucle.runs.search.languages import RUNS
from boucle.runs.search.runs import search_runs
from boucle.runs.tables import datasets, experiments, run_datasets, run_metrics, run_params, run_tags, runs

NAMES = ["a", "b c"]
TEXTS = ["", "x", "X", "xy", "x%y", "x_y", "[x]*?", "it's", "é", "x" * 70, "x" * 70 + "y"]
NUMBERS = [0.0, 1.0, -1.5, 2.0, math.nan, math.inf]
STATUSES = {"running": "RUNNING", "finished": "FINISHED", "interrupted": "KILLED"}


class Told(Struct):
    seq: int
    experiment: int
    lifecycle: str
    attributes: dict[str, Any]
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]
    datasets: list[dict[str, str | None]]


def made(seq: int, rng: random.Random) -> Told:
    some = lambda values: {name: rng.choice(values) for name in NAMES if rng.random() < 0.7}  # noqa: E731
    return Told(
        seq,
        rng.choice([0, 1, 2]),
        rng.choice(["active", "active", "deleted"]),
        {
            "run_id": f"{rng.randrange(10**6):06d}{seq:02d}",
            "run_name": rng.choice(TEXTS),
            "status": rng.choice(list(STATUSES)),
            "user_id": rng.choice(["ann", "Bob"]),
            "start_time": rng.randrange(5),
            "end_time": rng.choice([None, 3, 4]),
        },
        some(NUMBERS),
        some(TEXTS),
        some(TEXTS),
        [
            {"name": rng.choice(["d", "D"]), "digest": rng.choice(["1", "2"]), "context": rng.choice(["train", None])}
            for _ in range(rng.randrange(3))
        ],
    )


def put(conn: Connection, told: list[Told]) -> None:
    for number in range(3):
        conn.execute(
            insert(experiments).values(
                project_id="p", id=number, name=str(number), lifecycle="active", created_ms=0, updated_ms=0
            )
        )
    for number, (name, digest) in enumerate([("d", "1"), ("d", "2"), ("D", "1"), ("D", "2")]):
        conn.execute(
            insert(datasets).values(
                id=number, project_id="p", experiment_id=0, name=name, fingerprint=digest, source_type="", source=""
            )
        )
    for run in told:
        seen, kept = set[int](), []
        for one in run.datasets:
            number = 2 * (one["name"] == "D") + (one["digest"] == "2")
            if number not in seen:
                seen.add(number)
                kept.append((number, one))
        run.datasets = [one for _, one in kept]
        has = run.attributes
        conn.execute(
            insert(runs).values(
                seq=run.seq, id=has["run_id"], project_id="p", experiment_id=run.experiment, name=has["run_name"],
                status=has["status"], lifecycle=run.lifecycle, user=has["user_id"], started_ms=has["start_time"],
                ended_ms=has["end_time"],
            )
        )  # fmt: skip
        for name, value in run.metrics.items():
            number = None if math.isnan(value) else value
            conn.execute(
                insert(run_metrics).values(
                    run=run.seq, project_id="p", experiment_id=run.experiment, name=name, value=number, step=0, at_ms=0
                )
            )
        for name, text in run.params.items():
            conn.execute(insert(run_params).values(run=run.seq, name=name, value=text, kind="s"))
        for name, text in run.tags.items():
            conn.execute(insert(run_tags).values(run=run.seq, name=name, value=text))
        for number, one in kept:
            tags = '{"mlflow.data.context": "train"}' if one["context"] else "{}"
            conn.execute(insert(run_datasets).values(run=run.seq, dataset=number, tags=tags))
        has["status"] = STATUSES[has["status"]]


@pytest.fixture(scope="module")
def told() -> list[Told]:
    rng = random.Random(7)
    return [made(seq, rng) for seq in range(1, 61)]


@pytest.fixture(scope="module")
def store(told: list[Told], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("search") / "home") as opened:
        opened.write(lambda conn: put(conn, told))
        yield opened


def like(text: str, pattern: str, flags: int = 0) -> bool:
    parts = (".*" if sign == "%" else "." if sign == "_" else re.escape(sign) for sign in pattern)
    return re.fullmatch("".join(parts), text, flags | re.DOTALL | re.ASCII) is not None


SIGNS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def valued(run: Told, key: Key) -> list[Any]:
    if key.family == "dataset":
        return [one[key.name] for one in run.datasets]
    if key.family == "attribute":
        return [run.attributes[key.name]]
    return [{"metric": run.metrics, "param": run.params, "tag": run.tags}[key.family].get(key.name)]  # type: ignore[attr-defined]


def fulfils(run: Told, clause: Clause) -> bool:
    found = valued(run, clause.key)
    match clause.comparator:
        case "IS NULL":
            return found == [None]
        case "IS NOT NULL":
            return found != [None]
        case "LIKE":
            return any(one is not None and like(one, str(clause.value)) for one in found)
        case "ILIKE":
            return any(one is not None and like(one, str(clause.value), re.IGNORECASE) for one in found)
        case "IN":
            return any(one in clause.value for one in found)  # type: ignore[operator]
        case "NOT IN":
            return any(one is not None and one not in clause.value for one in found)  # type: ignore[operator]
        case sign:
            return any(one is not None and SIGNS[sign](one, clause.value) for one in found)


def expected(told: list[Told], filter_text: str, order_by: list[str], wanted: list[int], view: str) -> list[int]:
    clauses = parse_filter(filter_text, RUNS)
    found = [
        run
        for run in told
        if run.experiment in wanted and view in (run.lifecycle, "all") and all(fulfils(run, one) for one in clauses)
    ]
    found.sort(key=lambda run: run.attributes["run_id"])
    found.sort(key=lambda run: -run.attributes["start_time"])
    for order in reversed(parse_orders(order_by, RUNS)):

        def there(run: Told, key: Key = order.key) -> bool:
            (value,) = valued(run, key)
            return value is not None and value == value

        def value_of(run: Told, key: Key = order.key) -> Any:
            return valued(run, key)[0]

        nan = [run for run in found if not there(run) and value_of(run) is not None]
        missing = [run for run in found if value_of(run) is None]
        found = sorted(filter(there, found), key=value_of, reverse=order.descending) + nan + missing
    return [run.seq for run in found]


def quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


name = st.sampled_from(["a", "`b c`"])
text = st.sampled_from([*TEXTS, "%", "x%", "_", "%Y", "[x%", "É"]).map(quoted)
number = st.sampled_from(["0", "1", "-1.5", "2.5", "1e300"])
sign = st.sampled_from(list(SIGNS))
compared = st.sampled_from(["=", "!=", "LIKE", "ILIKE"])
clause = st.one_of(
    st.tuples(st.just("metrics."), name, sign, number),
    st.tuples(st.sampled_from(["params.", "tags."]), name, compared, text),
    st.tuples(st.sampled_from(["params.", "tags."]), name, st.sampled_from(["IS NULL", "IS NOT NULL"])),
    st.tuples(st.sampled_from(["run_name", "status", "user_id"]), compared, st.one_of(text, st.just("'FINISHED'"))),
    st.tuples(st.sampled_from(["start_time", "end_time"]), sign, st.sampled_from(["2", "3", "2.5"])),
    st.tuples(st.just("dataset.name"), compared, st.sampled_from(["'d'", "'D'"])),
    st.tuples(st.just("dataset.digest IN ('1', 'x')")),
    st.tuples(st.just("dataset.context NOT IN ('eval')")),
    st.tuples(st.just("dataset.context = 'train'")),
).map(lambda parts: " ".join(parts).replace(". ", "."))
key = st.one_of(
    st.tuples(st.sampled_from(["metrics.", "params.", "tags."]), name).map("".join),
    st.sampled_from(["start_time", "end_time", "run_name", "status", "run_id"]),
)
orders = st.lists(st.tuples(key, st.sampled_from(["", " DESC"])), max_size=3, unique_by=lambda one: one[0]).map(
    lambda found: [f"{one}{way}" for one, way in found]
)


@pytest.mark.slow
@given(
    filter_text=st.lists(clause, max_size=3).map(" AND ".join),
    order_by=orders,
    wanted=st.lists(st.sampled_from([0, 1, 2]), unique=True),
    view=st.sampled_from(["active", "deleted", "all"]),
    few=st.sampled_from([0, 3, 3000]),
    size=st.integers(1, 20),
)
@settings(deadline=None, max_examples=250)
def test_a_search_finds_what_a_plain_reading_finds_page_by_page(
    store: Store,
    told: list[Told],
    filter_text: str,
    order_by: list[str],
    wanted: list[int],
    view: Any,
    few: int,
    size: int,
) -> None:
    def asked(max_results: int, token: str | None) -> Any:
        return store.read(
            lambda conn: search_runs(
                conn, "p", wanted, filter_text=filter_text, view=view, order_by=order_by, max_results=max_results,
                page_token=token, few=few,
            )
        )  # fmt: skip

    whole = expected(told, filter_text, order_by, wanted, view)
    assert asked(1000, None).items == whole
    pages, token = [], None
    while True:
        page = asked(size, token)
        pages += page.items
        token = page.token
        if token is None:
            break
        assert len(page.items) == size
    assert pages == whole


def test_another_project_sees_nothing(store: Store) -> None:
    assert store.read(lambda conn: search_runs(conn, "q", [0, 1, 2], view="all")).items == []


def test_a_token_of_another_search_is_refused(store: Store) -> None:
    token = store.read(lambda conn: search_runs(conn, "p", [0, 1], max_results=2)).token
    with pytest.raises(InvalidInput, match="of another search"):
        store.read(lambda conn: search_runs(conn, "p", [0], max_results=2, page_token=token))


@pytest.mark.parametrize("limit", [0, -1, 50_001])
def test_a_limit_out_of_range_is_refused(store: Store, limit: int) -> None:
    with pytest.raises(InvalidInput, match="allowed are 1 to 50,000"):
        store.read(lambda conn: search_runs(conn, "p", [0], max_results=limit))


@pytest.mark.parametrize("family", ["metrics", "params", "tags"])
def test_pages_by_as_many_keys_as_are_allowed(store: Store, family: str) -> None:
    orders = [f"{family}.m{n}" for n in range(12)]
    first = store.read(lambda conn: search_runs(conn, "p", [0], order_by=orders, max_results=2))
    second = store.read(
        lambda conn: search_runs(conn, "p", [0], order_by=orders, max_results=2, page_token=first.token)
    )
    whole = store.read(lambda conn: search_runs(conn, "p", [0], order_by=orders, max_results=4))
    assert first.items + second.items == whole.items
    with pytest.raises(InvalidInput, match="has 13 keys; allowed are at most 12"):
        store.read(lambda conn: search_runs(conn, "p", [0], order_by=[*orders, f"{family}.one"]))
