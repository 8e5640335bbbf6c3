"""Keys that contradict each other are named, each in its place."""

from collections.abc import Mapping
from inspect import signature

import pytest
from msgspec import convert
from sklearn.ensemble import HistGradientBoostingClassifier

from boucle.evaluation.api import METRICS
from boucle.governance.gates import NOT_QUALITY
from boucle.project.limits import LIMITS
from boucle.project.problems import dotted
from boucle.project.records import Project, RetrainPolicy
from boucle.project.validate import PARAMS, QUALITY, SERVICE, validate

BASE = {
    "project": "small",
    "data": {
        "source": "table.csv",
        "target": "late",
        "key": "id",
        "time": "at",
        "known_later": ["delay"],
        "features": {"numeric": ["temp", "wind"], "categorical": ["carrier"]},
    },
    "training": {"until": "2013-03-01"},
    "replay": {"first": "2013-03-01", "last": "2013-12-31"},
}

CASES = [
    # key to set, value, path of the problem, words of its message
    ("data.source", "/etc/passwd.csv", "data.source", "a file below the project's folder"),
    ("data.source", "../table.csv", "data.source", "a file below the project's folder"),
    ("data.source", "table.xlsx", "data.source", "`table.csv`, `table.parquet` or `file.py:function`"),
    ("data.source", "code.py", "data.source", "`file.py:function`"),
    ("data.key", "late", "data.key", "is data.target already"),
    ("data.time", "id", "data.time", "is data.key already"),
    ("data.key", "prediction_id", "data.key", "predictions have of their own"),
    ("data.time", "label", "data.time", "predictions have of their own"),
    ("data.features", {}, "data.features", "no feature is named"),
    ("data.features.numeric", ["temp", "late"], "data.features.numeric[1]", "is the target"),
    ("data.features.numeric", ["id"], "data.features.numeric[0]", "is data.key"),
    ("data.features.numeric", ["at"], "data.features.numeric[0]", "is data.time"),
    ("data.features.numeric", ["temp", "temp"], "data.features.numeric[1]", "listed already under numeric"),
    ("data.features.categorical", ["temp"], "data.features.categorical[0]", "listed already under numeric"),
    ("data.features.numeric", ["delay"], "data.features.numeric[0]", "not known when the model is asked"),
    ("data.checks", [{"check": "range", "column": "temp"}], "data.checks[0]", "`min`, `max` or both"),
    ("data.checks", [{"check": "range", "column": "temp", "min": 2, "max": 1}], "data.checks[0].min", "above max 1"),
    ("data.checks", [{"check": "leakage"}, {"check": "leakage"}], "data.checks[1]", "repeats data.checks[0]"),
    (
        "data.checks",
        [
            {"check": "relation", "name": "a", "expression": "x > 1", "columns": ["x"]},
            {"check": "relation", "name": "a", "expression": "y > 1", "columns": ["y"]},
        ],
        "data.checks[1].name",
        "names another relation",
    ),
    ("loop.retrain.newest_days", 7, "loop.retrain.newest_days", "leave no row to learn from"),
    ("loop.retrain.schedule", "every monday", "loop.retrain.schedule", "is no cron expression"),
    ("loop.retrain.schedule", "0 0 30 2 *", "loop.retrain.schedule", "no"),
    ("objectives", [{"metric": "auc", "at_least": 0.6}], "objectives[0].metric", "did you mean `auc_roc`?"),
    ("objectives", [{"metric": "auc_roc"}], "objectives[0]", "exactly one of"),
    ("objectives", [{"metric": "auc_roc", "at_least": 0.1, "at_most": 0.2}], "objectives[0]", "exactly one of"),
    ("objectives", [{"metric": "auc_roc", "at_most": 0.2}], "objectives[0].at_most", "better when larger"),
    ("objectives", [{"metric": "log_loss", "at_least": 0.2}], "objectives[0].at_least", "better when smaller"),
    ("objectives", [{"metric": "recall", "at_least": 62}], "objectives[0].at_least", "lies between 0 and 1"),
    (
        "objectives",
        [{"metric": "recall", "at_least": 0.6}, {"metric": "recall", "at_least": 0.7}],
        "objectives[1].metric",
        "has an objective already",
    ),
    ("training.metric", "aucroc", "training.metric", "did you mean `auc_roc`?"),
    ("loop.metric", "latency_p95_ms", "loop.metric", "not a known metric"),
    ("training.params", {"max_itr": 3}, "training.params.max_itr", "did you mean `max_iter`?"),
    ("training.search", {"space": {"lr": {"choice": [1]}}}, "training.search.space.lr", "not a known parameter"),
    ("training.search", {"space": {"max_iter": {"low": 3, "high": 3}}}, "training.search.space.max_iter.low", "below"),
    ("training.search", {"space": {"max_iter": {"low": 3}}}, "training.search.space.max_iter", "both `low` and `high`"),
    (
        "training.search",
        {"space": {"max_iter": {"low": 0, "high": 3, "log": True}}},
        "training.search.space.max_iter.low",
        "must begin above 0",
    ),
    (
        "training.search",
        {"space": {"max_iter": {"choice": [1], "low": 3}}},
        "training.search.space.max_iter",
        "either a `choice` or a range",
    ),
    (
        "training",
        {"until": "2013-03-01", "params": {"max_iter": 3}, "search": {"space": {"max_iter": {"choice": [1]}}}},
        "training.search.space.max_iter",
        "fixed in training.params already",
    ),
    ("training", {}, "replay", "needs training.until"),
    ("replay.last", "2013-02-01", "replay.last", "is before replay.first"),
    ("replay.first", "2013-02-01", "replay.first", "is before training.until"),
    ("replay.drills", [{"drill": "shuffled_labels", "on": "2014-01-01"}], "replay.drills[0].on", "outside the replay"),
    (
        "replay.drills",
        [{"drill": "corrupt", "first": "2013-05-02", "last": "2013-05-01", "columns": {"temp": "1"}}],
        "replay.drills[0].last",
        "is before first",
    ),
    (
        "replay.drills",
        [{"drill": "corrupt", "first": "2013-05-01", "last": "2013-05-01", "columns": {"tmp": "1"}}],
        "replay.drills[0].columns.tmp",
        "did you mean `temp`?",
    ),
]


def edited(key: str, value: object) -> Project:
    """The base project with one key set."""
    tree = convert(BASE, dict[str, object])
    copy: dict[str, object] = _copy(tree)
    *parents, last = key.split(".")
    inner = copy
    for parent in parents:
        inner = inner.setdefault(parent, {})  # type: ignore[assignment]  # only mappings stand on these paths
    inner[last] = value
    return convert(copy, Project)


def _copy(tree: Mapping[str, object]) -> dict[str, object]:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in tree.items()}


def test_the_base_is_fine() -> None:
    assert list(validate(convert(BASE, Project))) == []


@pytest.mark.parametrize(("key", "value", "path", "words"), CASES)
def test_a_contradiction_is_named(key: str, value: object, path: str, words: str) -> None:
    (problem,) = validate(edited(key, value))
    assert dotted(problem.path) == path
    assert words in problem.message


def test_without_a_time_column() -> None:
    tree = _copy(BASE)
    data = tree["data"]
    assert isinstance(data, dict)
    del data["time"]
    data["checks"] = [{"check": "freshness", "at_most_days": 2}]
    found = {dotted(problem.path): problem.message for problem in validate(convert(tree, Project))}
    assert set(found) == {"data.checks[0]", "training.until", "replay"}


def test_every_limit_belongs_to_a_field() -> None:
    for struct, name in LIMITS:
        assert name in struct.__struct_fields__, f"{struct.__name__}.{name}"  # type: ignore[attr-defined]


def test_no_key_in_days_or_hours_reaches_beyond_the_calendar() -> None:
    keys = {
        (one, name)
        for one in {struct for struct, _ in LIMITS}
        for name in one.__struct_fields__  # type: ignore[attr-defined]
        if name.endswith(("_days", "_hours"))
    }
    assert (RetrainPolicy, "cooldown_days") in keys
    for one, name in keys:
        most = LIMITS[one, name].at_most
        assert most is not None, f"{one.__name__}.{name}"
        assert most <= (36_500 if name.endswith("_days") else 876_000), f"{one.__name__}.{name}"


def test_the_parameters_are_those_of_the_estimator() -> None:
    assert set(signature(HistGradientBoostingClassifier).parameters) >= PARAMS


def test_the_metrics_are_those_of_the_evaluation() -> None:
    measured = {name: spec.direction > 0 for metrics in METRICS.values() for name, spec in metrics.items()}
    assert measured == {name: facts.higher_is_better for name, facts in QUALITY.items()}
    for task, metrics in METRICS.items():
        assert set(metrics) == {name for name, facts in QUALITY.items() if task in facts.tasks}


def test_the_other_objectives_are_those_that_no_gate_asks() -> None:
    assert set(SERVICE) == NOT_QUALITY
