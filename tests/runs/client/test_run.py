"""A run from a training program, into the store of a folder."""

import asyncio
import inspect
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import boucle
from boucle.kernel.errors import Conflict, InvalidInput
from boucle.kernel.store import Store
from boucle.runs.api import get_run, list_runs, metric_history
from boucle.runs.artifacts import all_of

Program = Callable[..., Any]


@pytest.mark.slow
def test_what_a_program_logs_is_in_the_store_when_it_finishes(home: Path, root: Path, opened: Store) -> None:
    run = boucle.start_run("trees", "first", params={"depth": 3, "rate": 0.1}, tags={"team": "a"}, home=home)
    for step in range(3):
        run.log({"loss": 1.0 / (step + 1)}, step=step)
    run.log("auc", 0.9)
    run.log_params({"seed": 7})
    run.set_tags({"team": "b"})
    run.log_text("hello", "notes/a.txt")
    digest = run.log_dataset("numbers", __file__)
    run.finish()
    found = get_run(opened, run.id)
    assert (found.status, found.experiment, found.name) == ("finished", "trees", "first")
    assert found.params == {"depth": 3, "rate": 0.1, "seed": 7}
    assert found.tags["team"] == "b"
    assert found.metrics == {"loss": pytest.approx(1 / 3), "auc": 0.9}
    assert [(one.step, one.value) for one in metric_history(opened, run.id, "loss")] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    paths = {one.path for one in opened.read(lambda conn: all_of(conn, "default", run.id, ""))}
    assert paths >= {"notes/a.txt", "boucle/environment.json"}
    assert len(digest) == 64
    assert list(root.iterdir()) == []


@pytest.mark.slow
def test_an_exception_ends_the_run_as_failed(home: Path, opened: Store) -> None:
    with pytest.raises(ZeroDivisionError), boucle.start_run(home=home) as run:
        run.log("x", 1 / 0)
    assert get_run(opened, run.id).status == "failed"


@pytest.mark.slow
def test_a_tracked_function_is_a_run(home: Path, opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUCLE_HOME", str(home))
    seen = []

    @boucle.tracked(experiment="calls")
    def fit(depth: int, rate: float = 0.5, *, run: boucle.ActiveRun) -> dict[str, float]:
        seen.append(run.id)
        return {"auc": depth * rate}

    assert fit(3) == {"auc": 1.5}  # type: ignore[call-arg]  # the run is given by the decorator
    found = get_run(opened, seen[0])
    assert (found.name, found.params, found.metrics) == ("fit", {"depth": 3, "rate": 0.5}, {"auc": 1.5})

    @boucle.tracked(experiment="calls")
    def score(run: boucle.ActiveRun, depth: int) -> dict[str, float]:
        seen.append(run.id)
        return {"half": depth / 2}

    assert score(4) == {"half": 2.0}  # type: ignore[call-arg, arg-type]
    assert get_run(opened, seen[1]).params == {"depth": 4}


@pytest.mark.slow
def test_a_tracked_coroutine_is_a_run_until_it_ends_and_a_generator_is_refused(
    home: Path, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOUCLE_HOME", str(home))
    seen = []

    @boucle.tracked(experiment="calls")
    async def fit(depth: int, *, run: boucle.ActiveRun) -> dict[str, float]:
        seen.append(run.id)
        await asyncio.sleep(0)
        if depth > 3:
            await asyncio.get_running_loop().create_future()
        run.log("loss", 0.5)
        return {"auc": depth / 10}

    async def both() -> dict[str, float]:
        task = asyncio.create_task(fit(4))  # type: ignore[call-arg]  # the run is given by the decorator
        result = await fit(3)  # type: ignore[call-arg]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return result

    assert inspect.iscoroutinefunction(fit)
    assert asyncio.run(both()) == {"auc": 0.3}
    found = [get_run(opened, one) for one in seen]
    assert sorted((one.status, one.params["depth"]) for one in found) == [("finished", 3), ("interrupted", 4)]
    assert next(one.metrics for one in found if one.status == "finished") == {"loss": 0.5, "auc": 0.3}

    def steps() -> Iterator[int]:
        yield 1

    async def later_steps() -> AsyncIterator[int]:
        yield 1

    for generator in (steps, later_steps):
        with pytest.raises(InvalidInput, match="steps is a generator; allowed are functions that return a result"):
            boucle.tracked(generator)


@pytest.mark.slow
def test_all_threads_log_to_one_run(home: Path, opened: Store) -> None:
    with boucle.start_run(home=home) as run:

        def work(number: int) -> None:
            for step in range(200):
                run.log({f"m{number}": float(step)}, step=step)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number in range(8):
        assert [one.step for one in metric_history(opened, run.id, f"m{number}")] == list(range(200))


@pytest.mark.slow
def test_a_forked_child_and_an_unpickled_copy_log_to_the_same_run(home: Path, opened: Store, program: Program) -> None:
    text = """
import multiprocessing, os, sys, boucle
def work(run, number):
    for step in range(50):
        run.log({f"m{number}": float(step)}, step=step)
def fails(home):
    boucle.start_run("own", name="failed", home=home)
    raise SystemExit(3)
def never_finishes(home):
    boucle.start_run("own", name="never finished", home=home).log("x", 1.0)
if __name__ == "__main__":
    with boucle.start_run(home=sys.argv[1]) as run:
        run.log("before", 1.0)
        for number, how in enumerate(["fork", "spawn", "forkserver"]):
            child = multiprocessing.get_context(how).Process(target=work, args=(run, number))
            child.start()
            child.join()
        failing = multiprocessing.get_context("fork").Process(target=fails, args=(sys.argv[1],))
        failing.start()
        failing.join()
        if not (pid := os.fork()):
            run.log("bare", 1.0)
            os._exit(0)
        os.waitpid(pid, 0)
        run.log("after", 1.0)
    print(run.id)
    never_finishes(sys.argv[1])
"""
    out, err = program(text, home).communicate(timeout=60)
    run_id = out.strip()
    found = get_run(opened, run_id)
    assert {"before", "m0", "m1", "m2", "after"} <= set(found.metrics), err
    own = [(one.name, one.status) for one in list_runs(opened, "default") if one.experiment == "own"]
    assert sorted(own) == [("failed", "failed"), ("never finished", "finished")], err
    boucle.start_run(home=home).finish()  # the next process sends what the bare child left
    from boucle.runs.client.destination import spool_root
    from boucle.runs.client.leftovers import replay

    replay(spool_root(None))
    found = get_run(opened, run_id)
    assert found.status == "finished", err
    assert {"before", "m0", "m1", "m2", "bare", "after"} == set(found.metrics), err
    assert len(metric_history(opened, run_id, "m0")) == 50


@pytest.mark.slow
def test_wrong_input_is_told_at_once_and_a_finished_run_takes_nothing(home: Path) -> None:
    with pytest.raises(InvalidInput, match="seed is 'x'"):
        boucle.start_run(seed="x", home=home)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="say it once"):
        boucle.start_run(params={"seed": 1}, seed=2, home=home)
    run = boucle.start_run(home=home)
    calls: list[tuple[Callable[..., Any], tuple[Any, ...], str]] = [
        (run.log, (5,), "metrics are 5; allowed are names with numbers"),
        (run.log, (None,), "metrics are None"),
        (run.log, ({"": 1},), "a name is empty"),
        (run.log, ({3: 1},), "3 cannot name anything"),
        (run.log_params, (5,), "params are 5"),
        (run.set_tags, ("a",), "tags are 'a'"),
        (run.log_file, (5,), "path is 5"),
        (run.log_text, (5, "a.txt"), "artifact a.txt is 5; allowed is text"),
        (run.log_text, ("a", None), "artifact name is None"),
    ]
    for call, arguments, words in calls:
        with pytest.raises(InvalidInput, match=words):
            call(*arguments)
    with pytest.raises(InvalidInput, match="metric 'loss' is 'low'"):
        run.log({"loss": "low"})  # type: ignore[dict-item]
    with pytest.raises(InvalidInput, match="step is 'x'"):
        run.log("loss", 1.0, step="x")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="is no name of an artifact"):
        run.log_text("", "../up")
    run.finish()
    run.finish()
    with pytest.raises(Conflict, match="has ended as 'finished'"):
        run.log("loss", 1.0)
    with pytest.raises(Conflict, match="cannot end as 'failed'"):
        run.finish("failed")


@pytest.mark.slow
def test_a_file_that_is_not_there_is_told_once_and_counted(
    home: Path, opened: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with boucle.start_run(home=home) as run:
        for name in ("/nope", str(tmp_path), "also\0not"):
            run.log_file(name, "plot.png")
        assert run.dropped == 3
    assert [one.levelname for one in caplog.records] == ["WARNING"]
    assert "artifact plot.png could not be kept: '/nope' is no file; training goes on" in caplog.text
    assert get_run(opened, run.id).status == "finished"


@pytest.mark.slow
def test_a_seed_is_a_param_and_a_tag(home: Path, opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "11")
    with boucle.start_run(params={"depth": 3}, seed=7, home=home) as run:
        pass
    found = get_run(opened, run.id)
    assert found.params == {"depth": 3, "seed": 7}
    assert (found.tags["boucle.seed"], found.tags["boucle.hash_seed"]) == ("7", "11")


@pytest.mark.slow
def test_a_run_is_shown_with_all_it_has_and_without_markup_of_its_own(home: Path) -> None:
    with boucle.start_run("<b>", "<script>", params={"depth": 3}, home=home) as run:
        run.log("loss", 0.25)
        run.log({"loss": 0.125, "auc": 0.75}, step=1)
        run.log("late", 1, step=1)
        run.log_params({"depth": 4, "note": "<u>"})
        assert "running" in run._repr_html_()
    html = run._repr_html_()
    assert not any(tag in html for tag in ("<script>", "<b>", "<u>"))
    assert all(word in html for word in ("0.125", "0.75", "late", ">3<", "finished", "duration", str(home)))
    assert "0.25" not in html
    assert repr(run) == f"<run {run.id} '<script>' of '<b>': finished>"
    assert pickle.loads(pickle.dumps(run)).id == run.id


@pytest.mark.slow
def test_a_run_with_very_many_names_shows_some_and_keeps_few(home: Path) -> None:
    with boucle.start_run(home=home) as run:
        for number in range(25_000):
            run.log(f"m{number}", 1.0)
        assert len(run._newest) <= 20_000
        html = run._repr_html_()
    assert html.count("<tr>") < 70
    assert "more metrics" in html


@pytest.mark.slow
def test_tracking_draws_nothing_from_the_random_numbers_of_a_program(program: Program) -> None:
    """Also while it waits for a server that is away: a training that set its seed draws the same with and without."""
    text = """
import random, time
import boucle
random.seed(3)
before = random.getstate()
run = boucle.start_run(url="http://127.0.0.1:9")
for step in range(100):
    run.log("loss", 0.5, step=step)
run.flush(1.5)
print(random.getstate() == before)
"""
    with program(text) as process:
        assert process.stdout is not None
        assert process.stdout.read().strip() == "True"
