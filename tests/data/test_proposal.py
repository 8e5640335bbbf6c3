"""What an unknown table's columns are taken for."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from boucle.data.proposal import (
    facts_of,
    guessed_target,
    key_candidates,
    propose_roles,
    target_candidates,
    time_candidates,
)
from boucle.data.proposed_checks import missing_allowed, propose_checks, widened
from boucle.data.proposed_leaks import look_for_leaks, mark_leaks
from boucle.data.records import Features, NullRateCheck, RangeCheck, SetCheck, UniqueCheck

ROWS = 200


def table(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"y": [row % 2 for row in range(ROWS)], **columns})


def role(values: Any, name: str = "column") -> tuple[str, str]:
    (one,) = (one for one in propose_roles(facts_of(table(**{name: values})), "y", time=None, key=None)[1:])
    return one.role, one.why


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("price", [row / 3 for row in range(ROWS)], "numeric"),
        ("rooms", [row % 7 for row in range(ROWS)], "numeric"),
        ("zip", [row % 7 for row in range(ROWS)], "categorical"),
        ("customer_id", [(row * 7) % 101 for row in range(ROWS)], "unused"),
        ("member", [row % 3 == 0 for row in range(ROWS)], "categorical"),
        ("city", [f"city {row % 5}" for row in range(ROWS)], "categorical"),
        ("comment", [f"comment number {row}" for row in range(ROWS)], "unused"),
        ("constant", [4] * ROWS, "unused"),
        ("empty", [None] * ROWS, "unused"),
        ("only_one", [None, "x"] * (ROWS // 2), "unused"),
        ("counter", list(range(5, ROWS + 5)), "unused"),
        ("bought", [str(date(2024, 1, 1) + timedelta(days=row)) for row in range(ROWS)], "unused"),
    ],
)
def test_what_a_column_is_taken_for(name: str, values: list[Any], expected: str) -> None:
    assert role(values, name)[0] == expected


def test_a_target_is_guessed_by_name_only() -> None:
    assert guessed_target(facts_of(table(price=[1.5, 2] * 100))) == "y"
    assert guessed_target(facts_of(table(target=[1, 2] * 100))) is None  # two are called so
    columns = facts_of(table(label=["a", "b"] * 100).drop("y").with_columns(n=pl.Series(range(ROWS))))
    assert guessed_target(columns) == "label"


def test_the_likeliest_targets_come_first() -> None:
    columns = facts_of(
        table(note=[f"n {row}" for row in range(ROWS)], day=[date(2024, 1, 1)] * ROWS, sold=["yes", "no"] * 100)
    )
    assert target_candidates(columns) == ["y", "sold"]


def test_a_time_is_in_every_row_and_can_be_read() -> None:
    days = [date(2024, 1, 1) + timedelta(days=row) for row in range(ROWS)]
    columns = facts_of(
        table(
            shipped=[day + timedelta(days=3) for day in days],
            created_at=[f"{day}T10:00:00Z" for day in days],
            some=[None, *days[1:]],
            us=[day.strftime("%m/%d/%Y") for day in days],
        )
    )
    assert time_candidates(columns, "y") == ["created_at", "shipped"]


def test_a_key_is_filled_and_unique() -> None:
    columns = facts_of(
        table(
            id=[f"k{row}" for row in range(ROWS)],
            double_id=[row // 2 for row in range(ROWS)],
            hole_id=[None, *range(1, ROWS)],
            price=[row / 7 for row in range(ROWS)],
            remark=[f"remark {row}" for row in range(ROWS)],
        )
    )
    assert key_candidates(columns, "y", None) == ["id"]


def test_checks_pass_the_table_they_were_proposed_from() -> None:
    proposals = propose_roles(
        facts_of(table(id=[f"k{row}" for row in range(ROWS)], a=[None, 1.5, None, 2.5] * 50, c=["u", "v"] * 100)),
        "y",
        time=None,
        key="id",
    )
    assert propose_checks(proposals, None) == [
        UniqueCheck(columns=["id"]),
        RangeCheck(column="a", min=1, max=3, at_most_failing=0.01),
        SetCheck(column="c", values=["u", "v"], at_most_failing=0.01),
        NullRateCheck(column="a", at_most=0.8),
        NullRateCheck(column="c", at_most=0.05),
    ]


def test_margins_hold_what_was_seen() -> None:
    random = np.random.default_rng(3)
    for low, span in zip(random.normal(0, 1000, 50), random.exponential(10, 50), strict=True):
        least, most = widened(low, low + span)
        assert least <= low
        assert most >= low + span
    assert missing_allowed(facts_of(table(c=[None] * ROWS))[1]) == 1


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_column_that_is_the_answer_is_found(task: Any) -> None:
    random = np.random.default_rng(5)
    target = {
        "binary": random.integers(0, 2, ROWS),
        "multiclass": random.integers(0, 4, ROWS),
        "regression": random.normal(size=ROWS),
    }[task]
    rows = pl.DataFrame(
        {
            "y": target,
            "twice": target * 2.0 + 1,
            "other": random.normal(size=ROWS),
            "hint": target + random.normal(size=ROWS),
        }
    )
    found = look_for_leaks(rows, Features(numeric=["twice", "other", "hint"]), "y", task, time=None)
    assert list(found.leaks) == ["twice"]
    assert found.at_most is not None
    proposals = mark_leaks(propose_roles(facts_of(rows), "y", time=None, key=None), found)
    assert {one.column.name: one.role for one in proposals if one.loud} == {"twice": "known_later"}


def test_an_easy_question_is_no_leak() -> None:
    """Where most columns know the answer, none is taken away."""
    target = [row % 2 for row in range(ROWS)]
    columns = {
        f"x{place}": [value + (row * place % 7) / 10 for row, value in enumerate(target)] for place in range(1, 7)
    }
    rows = pl.DataFrame({"y": target, **columns})
    found = look_for_leaks(rows, Features(numeric=list(columns)), "y", "binary", time=None)
    assert not found.leaks
    assert len(found.suspects) > 3
