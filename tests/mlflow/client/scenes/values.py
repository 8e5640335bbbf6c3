"""Metrics, params and tags: values, limits, history, batches, asynchronous logging."""

# ruff: noqa: E501 - a call a line, so that the scenes read as tables
# fmt: off
import math

from mlflow.entities import Metric, Param, RunTag

import mlflow
from mlflow import MlflowClient


def play(see):
    client = MlflowClient()
    exp = see.mask(mlflow.set_experiment("values").experiment_id, "exp")
    metrics(see, client, exp)
    params(see, client, exp)
    tags(see, client, exp)
    batches(see, client, exp)
    later(see, client)


def metrics(see, client, exp):
    run = client.create_run(exp).info.run_id
    values = {
        "int": 3, "float": 0.1, "neg": -1.5, "zero": 0, "big": 1e300, "small": 5e-324, "max": 1.7976931348623157e308,
        "nan": math.nan, "inf": math.inf, "ninf": -math.inf, "bool": True, "text number": "2.5", "third": 1 / 3,
    }
    for name, value in values.items():
        see(f"metric {name}", client.log_metric, run, name, value)
    see("metric of text", client.log_metric, run, "bad", "x")
    see("metric of None", client.log_metric, run, "bad", None)
    for name in ("a/b", "a b", "a.b", "a-b", "a:b", "é", "a\\b", "a'b", 'a"b', "a,b", "a=b", "a%b", "..", "a/../b", "/a", "a//b", "", "a\tb", "a\nb", "😀", "x" * 250, "x" * 251):
        see(f"metric named {name[:8]!r} {len(name)}", client.log_metric, run, name, 1.0)
    see("metrics", lambda: client.get_run(run).data.metrics)

    for step, value in enumerate([0.5, 0.4, math.nan, 0.3, math.inf]):
        client.log_metric(run, "loss", value, step=step, timestamp=1000 + step)
    see("history", client.get_metric_history, run, "loss")
    see("same point again", client.log_metric, run, "loss", 0.5, timestamp=1000, step=0)
    see("same step, other value", client.log_metric, run, "loss", 0.55, timestamp=1000, step=0)
    see("history again", lambda: [(m.step, m.timestamp, m.value) for m in client.get_metric_history(run, "loss")])
    see("an earlier step leaves the latest", lambda: (client.log_metric(run, "loss", 9, step=1, timestamp=99999), client.get_run(run).data.metrics["loss"])[1])
    see("same step, later time", lambda: (client.log_metric(run, "loss", 7, step=4, timestamp=2000), client.get_run(run).data.metrics["loss"])[1])
    see("same step and time, less", lambda: (client.log_metric(run, "loss", 6, step=4, timestamp=2000), client.get_run(run).data.metrics["loss"])[1])
    see("same step and time, more", lambda: (client.log_metric(run, "loss", 8, step=4, timestamp=2000), client.get_run(run).data.metrics["loss"])[1])
    see("negative step", lambda: (client.log_metric(run, "neg step", 1, step=-5), client.log_metric(run, "neg step", 2, step=-7), client.get_run(run).data.metrics["neg step"])[2])
    see("huge step", client.log_metric, run, "huge", 1, step=2**62)
    see("step beyond", client.log_metric, run, "huge", 1, step=2**63)
    see("step of text", client.log_metric, run, "huge", 1, step="x")
    see("step of float", client.log_metric, run, "huge", 1, step=1.5)
    see("huge read", client.get_metric_history, run, "huge")
    see("no history", client.get_metric_history, run, "never")
    see("history of none such", client.get_metric_history, "0" * 32, "loss")
    see("metric to none such", client.log_metric, "0" * 32, "m", 1)

    long = client.create_run(exp).info.run_id
    for begin in range(0, 3000, 1000):
        client.log_batch(long, [Metric("m", n / 7, n, n) for n in range(begin, begin + 1000)])
    see("long history", lambda: [len(h := client.get_metric_history(long, "m")), h[0].value, h[-1].value, [m.step for m in h] == sorted(m.step for m in h)])
    see("latest of many", lambda: client.get_run(long).data.metrics)


def params(see, client, exp):
    run = client.create_run(exp).info.run_id
    for name, value in {"int": 3, "float": 0.1, "none": None, "bool": True, "list": [1, "a"], "dict": {"a": 1}, "empty": "", "uni": "é😀\n", "spaces": "  x  "}.items():
        see(f"param {name}", client.log_param, run, name, value)
    see("param again", client.log_param, run, "int", 3)
    see("param changed", client.log_param, run, "int", 4)
    see("param of 6000", client.log_param, run, "long", "v" * 6000)
    see("param of 6001", client.log_param, run, "longer", "v" * 6001)
    see("param without name", client.log_param, run, "", "x")
    for name in ("a/b", "a.b c-d", "a'b", "..", "x" * 250, "x" * 251):
        see(f"param named {name[:8]!r} {len(name)}", client.log_param, run, name, "v")
    see("params", lambda: {k: v[:20] for k, v in client.get_run(run).data.params.items()})
    see("param to none such", client.log_param, "0" * 32, "a", 1)
    other = client.create_run(exp).info.run_id
    see("batch of params", client.log_batch, other, params=[Param("a", "1"), Param("b", "2")])
    see("the same batch", client.log_batch, other, params=[Param("a", "1"), Param("b", "2")])
    see("a batch that changes", client.log_batch, other, params=[Param("c", "3"), Param("a", "9")])
    see("params after it", lambda: client.get_run(other).data.params)
    see("twice in a batch", client.log_batch, other, params=[Param("d", "1"), Param("d", "1")])
    see("twice, not the same", client.log_batch, other, params=[Param("e", "1"), Param("e", "2")])
    see("100 params", client.log_batch, other, params=[Param(f"p{n}", str(n)) for n in range(100)])
    see("101 params", client.log_batch, other, params=[Param(f"q{n}", str(n)) for n in range(101)])
    see("250 by mlflow.log_params", lambda: _with(other, mlflow.log_params, {f"r{n}": n for n in range(250)}))
    see("params at last", lambda: len(client.get_run(other).data.params))


def tags(see, client, exp):
    run = client.create_run(exp).info.run_id
    see("tag", client.set_tag, run, "a", 1)
    see("tag again", client.set_tag, run, "a", "two")
    see("tag of nothing", client.set_tag, run, "empty", "")
    see("tag of 8000", client.set_tag, run, "long", "v" * 8000)
    see("tag of 8001", client.set_tag, run, "longer", "v" * 8001)
    see("tag without name", client.set_tag, run, "", "x")
    for name in ("a/b", "a.b c-d", "a'b", "..", "mlflow.note.content", "mlflow.user", "mlflow.source.git.commit", "x" * 250, "x" * 251):
        see(f"tag named {name[:24]!r} {len(name)}", client.set_tag, run, name, "v")
    see("tags", lambda: {k: v[:20] for k, v in client.get_run(run).data.tags.items()})
    see("untag", client.delete_tag, run, "a")
    see("untag again", client.delete_tag, run, "a")
    see("tags left", lambda: "a" in client.get_run(run).data.tags)
    see("tag none such", client.set_tag, "0" * 32, "a", 1)
    see("set_tags", lambda: _with(run, mlflow.set_tags, {"x": 1, "y": None, "z": [1]}))
    see("delete by mlflow", lambda: _with(run, mlflow.delete_tag, "x"))
    see("tags at last", lambda: {k: v[:20] for k, v in client.get_run(run).data.tags.items()})


def batches(see, client, exp):
    run = client.create_run(exp).info.run_id
    see("a batch of all", client.log_batch, run, [Metric("m", 1.5, 10, 0), Metric("m", 2.5, 11, 1)], [Param("p", "1")], [RunTag("t", "x")])
    see("empty batch", client.log_batch, run)
    see("1000 metrics", client.log_batch, run, [Metric(f"k{n % 10}", n, n, n) for n in range(1000)])
    see("1001 metrics", client.log_batch, run, [Metric("over", n, n, n) for n in range(1001)])
    see("100 tags", client.log_batch, run, tags=[RunTag(f"t{n}", "v") for n in range(100)])
    see("101 tags", client.log_batch, run, tags=[RunTag(f"u{n}", "v") for n in range(101)])
    see("1000 in all", client.log_batch, run, [Metric("all", n, n, n) for n in range(950)], [Param(f"z{n}", "1") for n in range(50)])
    see("1001 in all", client.log_batch, run, [Metric("all", n, n, n) for n in range(950)], [Param(f"y{n}", "1") for n in range(51)])
    see("one bad metric spoils it", client.log_batch, run, [Metric("fine", 1, 1, 1), Metric("bad'name", 1, 1, 1)])
    see("one long param spoils it", client.log_batch, run, [Metric("fine2", 1, 1, 1)], [Param("p2", "v" * 6001)])
    see("NaN in a batch", client.log_batch, run, [Metric("n", math.nan, 1, 1), Metric("i", math.inf, 1, 1), Metric("j", -math.inf, 1, 1)])
    see("read", lambda: client.get_run(run).data.metrics)
    see("batch to none such", client.log_batch, "0" * 32, [Metric("m", 1, 1, 1)])
    see("log_metrics", lambda: _with(run, mlflow.log_metrics, {"x": 1, "y": 2.5}, step=4))
    see("log_metric with time", lambda: _with(run, mlflow.log_metric, "timed", 1.5, step=2, timestamp=123))
    see("timed", client.get_metric_history, run, "timed")


def later(see, client):
    with mlflow.start_run() as run:
        for step in range(200):
            mlflow.log_metric("late", step, step=step, synchronous=False)
        mlflow.log_params({f"p{n}": n for n in range(20)}, synchronous=False)
        mlflow.set_tags({f"t{n}": n for n in range(20)}, synchronous=False)
        done = mlflow.log_metric("last", 1.0, synchronous=False)
        done.wait()
        mlflow.flush_async_logging()
    data = client.get_run(run.info.run_id).data
    see.note("asynchronous", [len(client.get_metric_history(run.info.run_id, "late")), data.metrics, len(data.params)])
    see.note("asynchronous tags", sorted(name for name in data.tags if name.startswith("t")))


def _with(run, call, *args, **kwargs):
    with mlflow.start_run(run_id=run):
        return call(*args, **kwargs)
