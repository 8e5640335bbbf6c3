"""The search language: what it takes, what it refuses, and how fast it does."""

import contextlib
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from boucle.kernel.errors import InvalidInput
from boucle.kernel.search.parser import parse_filter, parse_orders
from boucle.kernel.search.records import Clause, Key, Language, Order
from boucle.models.languages import MODEL_VERSIONS, REGISTERED_MODELS
from boucle.runs.search.languages import EXPERIMENTS, LOGGED_MODELS, RUNS

LANGUAGES = [RUNS, EXPERIMENTS, LOGGED_MODELS, REGISTERED_MODELS, MODEL_VERSIONS]


def one(text: str, language: Language = RUNS) -> tuple[str, str, str, Any]:
    (clause,) = parse_filter(text, language)
    return clause.key.family, clause.key.name, clause.comparator, clause.value


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("metrics.acc > 0.5", ("metric", "acc", ">", 0.5)),
        ("metric.acc>.5", ("metric", "acc", ">", 0.5)),
        ("metrics.acc >= -1e-3", ("metric", "acc", ">=", -0.001)),
        ("metrics.acc < 1.", ("metric", "acc", "<", 1.0)),
        ("metrics.a.b = 1", ("metric", "a.b", "=", 1)),
        ("metrics.`val/loss` <= 1", ("metric", "val/loss", "<=", 1)),
        ('metrics."a b" != 1', ("metric", "a b", "!=", 1)),
        ("metrics.'a b' != 1", ("metric", "a b", "!=", 1)),
        ("`metrics`.a > 1", ("metric", "a", ">", 1)),
        ("metrics.é_1 > 1", ("metric", "é_1", ">", 1)),
        ("metrics.1a > 1", ("metric", "1a", ">", 1)),
        ("params.x = 'a'", ("param", "x", "=", "a")),
        ('param.x = "it\'s"', ("param", "x", "=", "it's")),
        ("parameters.x = 'say \"so\"'", ("param", "x", "=", 'say "so"')),
        ("parameter.x = 'a''b'", ("param", "x", "=", "a''b")),
        ("params.x = 'a\\'b'", ("param", "x", "=", "a\\'b")),
        ("params.x = 'C:\\'", ("param", "x", "=", "C:\\")),
        ("params.x = ''", ("param", "x", "=", "")),
        ("params.x = 'a;b -- c'", ("param", "x", "=", "a;b -- c")),
        ("params.x like '%50\\%_'", ("param", "x", "LIKE", "%50\\%_")),
        ("params.x iLike 'A%'", ("param", "x", "ILIKE", "A%")),
        ("params.x IS NULL", ("param", "x", "IS NULL", None)),
        ("tags.x is  not\nnull", ("tag", "x", "IS NOT NULL", None)),
        ("tag.mlflow.source.name = 'x'", ("tag", "mlflow.source.name", "=", "x")),
        ("tags.`mlflow.source.name` = 'x'", ("tag", "mlflow.source.name", "=", "x")),
        ("params.in = 'and'", ("param", "in", "=", "and")),
        ("params.`\"a\"` = 'x'", ("param", '"a"', "=", "x")),
        ("status = 'FINISHED'", ("attribute", "status", "=", "FINISHED")),
        ("attr.status = 'FINISHED'", ("attribute", "status", "=", "FINISHED")),
        ("run.status = 'FINISHED'", ("attribute", "status", "=", "FINISHED")),
        ("attributes.`Run name` = 'x'", ("attribute", "run_name", "=", "x")),
        ("\"run name\" = 'x'", ("attribute", "run_name", "=", "x")),
        ("Created > 5", ("attribute", "start_time", ">", 5)),
        ("start_time > 5.5", ("attribute", "start_time", ">", 5.5)),
        ("start_time < 99999999999999999999", ("attribute", "start_time", "<", 1e20)),
        ("run_id IN ('a', \"b\",)", ("attribute", "run_id", "IN", ("a", "b"))),
        ("run_id not in('a')", ("attribute", "run_id", "NOT IN", ("a",))),
        ("dataset.name = 'x'", ("dataset", "name", "=", "x")),
        ("datasets.context IN ('train', 'eval')", ("dataset", "context", "IN", ("train", "eval"))),
    ],
)
def test_a_clause(text: str, found: tuple[str, str, str, object]) -> None:
    assert one(text) == found


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        (EXPERIMENTS, "name LIKE 'a%'", ("attribute", "name", "LIKE", "a%")),
        (EXPERIMENTS, "experiment_id IN ('1', '2')", ("attribute", "experiment_id", "IN", ("1", "2"))),
        (EXPERIMENTS, "last_update_time >= 1", ("attribute", "last_update_time", ">=", 1)),
        (EXPERIMENTS, "tag.x IS NULL", ("tag", "x", "IS NULL", None)),
        (LOGGED_MODELS, "params.lr = 0.01", ("param", "lr", "=", "0.01")),
        (LOGGED_MODELS, "creation_time > 5", ("attribute", "creation_timestamp", ">", 5)),
        (LOGGED_MODELS, "params.x IN ('1')", ("param", "x", "IN", ("1",))),
        (REGISTERED_MODELS, "name IN ('a', 'b')", ("attribute", "name", "IN", ("a", "b"))),
        (MODEL_VERSIONS, "version_number = '1'", ("attribute", "version_number", "=", 1)),
        (MODEL_VERSIONS, "version_number > 1", ("attribute", "version_number", ">", 1)),
        (MODEL_VERSIONS, "source_path ILIKE 'S3:%'", ("attribute", "source_path", "ILIKE", "S3:%")),
    ],
)
def test_a_clause_of_other_entities(language: Language, text: str, found: tuple[str, str, str, object]) -> None:
    assert one(text, language) == found


def test_clauses_are_joined_by_and() -> None:
    assert parse_filter(" metrics.a > 1 AND params.b = 'c' and\ntags.d != 'e' ", RUNS) == (
        Clause(Key("metric", "a"), ">", 1),
        Clause(Key("param", "b"), "=", "c"),
        Clause(Key("tag", "d"), "!=", "e"),
    )
    assert parse_filter(None, RUNS) == parse_filter("", RUNS) == parse_filter("  ", RUNS) == ()


@pytest.mark.parametrize(
    ("language", "text", "message"),
    [
        (
            RUNS,
            "metrics.a >",
            "filter of runs, character 12: found the end; expected for metrics.a a number, as in 0.5",
        ),
        (RUNS, "metrics.a > 'x'", "character 13: found \"'x'\"; expected for metrics.a a number"),
        (RUNS, "metrics.a > nan", "character 13: found 'nan'"),
        (RUNS, "metrics.a > 1_0", "character 13: found '1_0'"),
        (RUNS, "metrics.a LIKE 'x'", "found 'LIKE'; expected for metrics.a =, !=, <, <=, > or >="),
        (RUNS, "metrics.a == 1", "character 11: found '=='"),
        (RUNS, "metrics.a BETWEEN 1 AND 2", "character 11: found 'BETWEEN 1 AND 2'"),
        (RUNS, "metrics.a IS NULL", "character 11: found 'IS NULL'"),
        (RUNS, "metrics.a > 1 OR metrics.b > 1", "character 15: found 'OR metrics.b > 1'; expected AND between two"),
        (RUNS, "metrics.a > 1 AND", "character 18: found the end; expected a key"),
        (RUNS, "AND metrics.a > 1", "found 'AND'; expected run_id, run_name, status"),
        (
            RUNS,
            "metrics.a-b > 1",
            "character 10: found '-' in a key; expected such a key in backticks, as in metrics.`a-b`",
        ),
        (RUNS, "(metrics.a > 1)", "character 1: found '(metrics.a > 1)'; expected a key"),
        (
            RUNS,
            "PARAMS.x = 'a'",
            "found 'PARAMS' before the dot; expected attributes, metrics, params, tags or datasets",
        ),
        (RUNS, "foo = 'a'", "character 1: found 'foo'"),
        (RUNS, "params.x = 5", "found '5'; expected for params.x a text in quotes"),
        (RUNS, "params.x = abc", "found 'abc'; expected for params.x a text in quotes"),
        (RUNS, "params.x = 'a", "found a text whose quote is not closed"),
        (RUNS, "params.x > 'a'", "found '>'; expected for params.x =, !=, LIKE, ILIKE, IS NULL or IS NOT NULL"),
        (RUNS, "params.x NOT LIKE 'a'", "found \"NOT LIKE 'a'\""),
        (RUNS, "params.x IN ('a')", "found 'IN'"),
        (RUNS, "params.x = 'a' 'b'", "found \"'b'\"; expected AND"),
        (RUNS, "params.x = 'a';", "found ';'; expected AND"),
        (RUNS, "params. = 'a'", "expected a key"),
        (RUNS, "run_id IN ()", "found ')'; expected a text in quotes"),
        (RUNS, "run_id IN ('a' 'b')", "expected ',' or ')' in a list"),
        (RUNS, "run_id IN ('a', 5)", "found '5)'; expected a text in quotes"),
        (RUNS, "run_id IN 'a'", "expected a list of texts"),
        (RUNS, "dataset.foo = 'a'", "found 'foo' of a dataset; expected name, digest or context"),
        (RUNS, "params.x = 'a\0'", "null character at character 14"),
        (EXPERIMENTS, "metrics.x > 1", "found 'metrics' before the dot; expected attributes or tags"),
        (EXPERIMENTS, "creation_time > 1.5", "expected for creation_time a whole number"),
        (
            REGISTERED_MODELS,
            "creation_timestamp > 1",
            "found 'creation_timestamp', which is not filtered on; expected name",
        ),
        (MODEL_VERSIONS, "source_path IN ('a')", "expected for source_path =, !=, LIKE or ILIKE"),
    ],
)
def test_what_is_refused(language: Language, text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_filter(text, language)
    assert message in caught.value.message


def test_orders() -> None:
    assert parse_orders(["metrics.`a b` desc", "start_time", "attributes.end_time ASC", "tags.a.b DESC"], RUNS) == (
        Order(Key("metric", "a b"), True),
        Order(Key("attribute", "start_time")),
        Order(Key("attribute", "end_time")),
        Order(Key("tag", "a.b"), True),
    )
    assert parse_orders(["timestamp DESC", "name"], REGISTERED_MODELS)[0].key.name == "last_updated_timestamp"


@pytest.mark.parametrize(
    ("language", "texts", "message"),
    [
        (
            RUNS,
            ["metrics.a sideways"],
            "order_by of runs, character 11: found 'sideways'; expected ASC, DESC or the end",
        ),
        (RUNS, [""], "character 1: found the end; expected a key"),
        (RUNS, ["metrics.a DESC, b"], "found ', b'; expected ASC"),
        (RUNS, ["dataset.name"], "found 'datasets.name', by which nothing is ordered"),
        (RUNS, ["start_time", "created DESC"], "names 'start_time' twice"),
        (RUNS, ["metrics.a"] * 21, "order_by of runs has 21 keys; allowed are at most 12"),
        (EXPERIMENTS, ["tags.a"], "expected name, experiment_id, creation_time or last_update_time"),
    ],
)
def test_orders_that_are_refused(language: Language, texts: list[str], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_orders(texts, language)
    assert message in caught.value.message


_PIECES = st.sampled_from(
    ["metrics", "params.", ".", "a", "`", "'", '"', "''", "\\", " ", "AND", "IN", "(", ")", ",", "=", "LIKE", "1", "-",
     "IS", "NOT", "NULL", "run_id", "tags.x = 'y'", "\n", "é", "%", "1e9", "dataset.name"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(_PIECES).map("".join)), st.sampled_from(LANGUAGES))
@example("metrics.a = " + "9" * 5000, RUNS)
@example("start_time = " + "9" * 5000, RUNS)
@settings(deadline=None, max_examples=400)
def test_any_text_is_a_filter_or_invalid_input(text: str, language: Language) -> None:
    with contextlib.suppress(InvalidInput):
        assert isinstance(parse_filter(text, language), tuple)
    with contextlib.suppress(InvalidInput):
        assert isinstance(parse_orders([text], language), tuple)


@pytest.mark.parametrize(
    "text",
    [
        "params.x = '" + "\\'" * 100_000,
        "params.x = '" + "''" * 100_000,
        "params." + "a." * 100_000,
        "`" * 200_000,
        "(" * 200_000,
        " " * 200_000 + ")",
        "metrics.a > " + "1" * 200_000 + "x",
        "run_id IN (" + "'a'," * 60_000,
        "metrics.a > 1 AND " * 14_000,
        "-" * 200_000,
    ],
)
def test_long_nonsense_is_refused_in_no_time(text: str) -> None:
    start = time.process_time()
    with pytest.raises(InvalidInput):
        parse_filter(text, RUNS)
    assert time.process_time() - start < 0.5


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"allowed are at most 262,144"):
        parse_filter("x" * 300_000, RUNS)
    with pytest.raises(InvalidInput, match="more than 100 clauses; allowed are at most 100"):
        parse_filter(" AND ".join(["metrics.a > 1"] * 101), RUNS)
    with pytest.raises(InvalidInput, match="more than 10,000 texts; allowed are at most 10,000"):
        parse_filter("run_id IN ('a'" + ", 'a'" * 10_000 + ")", RUNS)
