"""The searches that must be fast walk the indexes made for them."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, event

from boucle.kernel.store import Store
from boucle.runs.search.runs import search_runs


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("plans") / "home") as opened:
        yield opened


def plans(conn: Connection, **asked: Any) -> list[str]:
    """How SQLite goes about each query of a search."""
    told = list[tuple[str, Any]]()

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        told.append((statement, parameters))

    event.listen(conn, "before_cursor_execute", note)
    search_runs(conn, "p", [0], max_results=100, **asked)
    event.remove(conn, "before_cursor_execute", note)
    return [
        "\n".join(str(row[3]) for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters))
        for statement, parameters in told
    ]


@pytest.mark.parametrize(
    ("asked", "number", "steps"),
    [
        ({}, 0, ["SEARCH runs USING COVERING INDEX ix_runs_started"]),
        ({"order_by": ["start_time"]}, 0, ["SEARCH runs USING COVERING INDEX ix_runs_started"]),
        (
            {"order_by": ["metrics.a DESC"]},
            0,
            ["COVERING INDEX ix_run_metrics_value", "SEARCH runs USING INTEGER PRIMARY KEY", "RIGHT PART OF ORDER BY"],
        ),
        (
            {"order_by": ["metrics.a"], "filter_text": "metrics.b > 1", "few": -1},
            1,
            [
                "COVERING INDEX ix_run_metrics_value",
                "SEARCH run_metrics USING INDEX sqlite_autoindex_run_metrics_1 (run=? AND name=?)",
            ],
        ),
        ({"filter_text": "metrics.b > 1"}, 0, ["SEARCH run_metrics USING COVERING INDEX ix_run_metrics_value"]),
        ({"filter_text": "tags.a = 'x'"}, 0, ["INDEX ix_run_tags_value (name=? AND <expr>=?)"]),
        ({"filter_text": "params.a = 'x'"}, 0, ["INDEX ix_run_params_value (name=? AND <expr>=?)"]),
        ({"filter_text": "params.a = 'x'"}, 1, ["SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"]),
    ],
)
def test_a_search_walks_its_index(store: Store, asked: dict[str, Any], number: int, steps: list[str]) -> None:
    plan = store.read(lambda conn: plans(conn, **asked))[number]
    for step in steps:
        assert step in plan, plan
