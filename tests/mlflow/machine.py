"""What may be done to runs and the registry, and a model of what must come of it, whatever carries it out.

`Machine` is driven twice: over HTTP, as MLflow's clients do, and on a store, by the functions that the doors call.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, NamedTuple, Protocol

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

FEW = settings(max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=300, stateful_step_count=50)
NAMES = st.sampled_from(["a", "b", "c/d", "e f"])
TEXTS = st.sampled_from(["", "x", "y", "é"])
NUMBERS = st.integers(-3, 3).map(float) | st.sampled_from([0.5, math.nan, math.inf, -math.inf])
MODELS = st.sampled_from(["one", "two"])
ALIASES = st.sampled_from(["first", "second"])
LARGEST: Final = 1.7976931348623157e308
MISSING, TAKEN, WRONG = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE"


class Data(NamedTuple):
    """What is known of a run."""

    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]


class World(Protocol):
    """Carries it out in a project of its own. What is not done raises NotDoneError."""

    def close(self) -> None: ...
    def begin_run(self) -> str: ...
    def log_metric(self, run: str, name: str, value: float, step: int, at: int) -> None: ...
    def log_batch(self, run: str, points: list[tuple[str, int]], tags: dict[str, str]) -> None: ...
    def log_param(self, run: str, name: str, value: str) -> None: ...
    def delete_tag(self, run: str, name: str) -> None: ...
    def delete_run(self, run: str) -> None: ...
    def restore_run(self, run: str) -> None: ...
    def read_run(self, run: str) -> Data: ...
    def history(self, run: str, name: str) -> list[tuple[int, int, float]]: ...
    def search(self, filter_text: str = "", *, deleted: bool = False) -> list[str]: ...
    def create_model(self, name: str) -> None: ...
    def create_version(self, name: str, run: str) -> int: ...
    def delete_version(self, name: str, number: int) -> None: ...
    def set_alias(self, name: str, alias: str, number: int) -> None: ...
    def set_stage(self, name: str, number: int, stage: str, *, archive: bool) -> None: ...
    def delete_model(self, name: str) -> None: ...
    def aliases(self, name: str) -> dict[str, int]: ...
    def stages(self, name: str) -> dict[int, str]: ...


class NotDoneError(Exception):
    """What was asked for was not done."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Machine(RuleBasedStateMachine):
    """The rules, and the model."""

    runs = Bundle("runs")
    deleted = Bundle("deleted")

    def __init__(self) -> None:
        super().__init__()
        self.world = self.make()
        self.points: dict[str, dict[str, set[tuple[int, int, str]]]] = {}
        self.params: dict[str, dict[str, str]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.gone: set[str] = set()
        self.models: dict[str, dict[int, str]] = {}
        self.numbers: dict[str, int] = {}
        self.pointers: dict[str, dict[str, int]] = {}

    def make(self) -> World:
        """A new world for each example."""
        raise NotImplementedError

    def teardown(self) -> None:
        self.world.close()

    @initialize(target=runs)
    def there_is_a_model_with_two_versions(self) -> object:
        run = self.world.begin_run()
        self.points[run], self.params[run], self.tags[run] = {}, {}, {}
        self.a_model_is_made("one")
        for _ in range(2):
            self.a_version_is_made("one", run)
        return run

    @rule(target=runs)
    def a_run_begins(self) -> object:
        run = self.world.begin_run()
        self.points[run], self.params[run], self.tags[run] = {}, {}, {}
        return multiple(run)

    @rule(run=runs, name=NAMES, value=NUMBERS, step=st.integers(-2, 4), at=st.integers(0, 2))
    def a_metric_is_logged(self, run: str, name: str, value: float, step: int, at: int) -> None:
        self.world.log_metric(run, name, value, step, at)
        self.points[run].setdefault(name, set()).add((step, at, kept(value)))

    @rule(run=runs, names=st.lists(NAMES, max_size=3), value=TEXTS)
    def a_batch_is_logged(self, run: str, names: list[str], value: str) -> None:
        self.world.log_batch(run, [(name, n) for n, name in enumerate(names)], dict.fromkeys(names, value))
        for n, name in enumerate(names):
            self.points[run].setdefault(name, set()).add((n, 1, kept(float(n))))
            self.tags[run][name] = value

    @rule(run=runs, name=NAMES, value=TEXTS)
    def a_param_is_logged_once(self, run: str, name: str, value: str) -> None:
        changes = self.params[run].get(name, value) != value
        with refused(WRONG if changes else None):
            self.world.log_param(run, name, value)
        self.params[run].setdefault(name, value)

    @rule(run=runs, name=NAMES)
    def a_tag_is_removed(self, run: str, name: str) -> None:
        with refused(None if name in self.tags[run] else MISSING):
            self.world.delete_tag(run, name)
        self.tags[run].pop(name, None)

    @rule(target=deleted, run=consumes(runs))
    def a_run_is_deleted(self, run: str) -> str:
        self.world.delete_run(run)
        with refused(WRONG):
            self.world.log_param(run, "k", "v")
        self.gone.add(run)
        return run

    @rule(target=runs, run=consumes(deleted))
    def a_run_is_restored(self, run: str) -> str:
        self.world.restore_run(run)
        self.gone.discard(run)
        return run

    @rule(run=runs)
    def a_run_is_read(self, run: str) -> None:
        data = self.world.read_run(run)
        assert data.params == self.params[run]
        assert {name: value for name, value in data.tags.items() if not name.startswith("mlflow.")} == self.tags[run]
        assert {name: kept(value) for name, value in data.metrics.items()} == {
            name: max(points, key=order)[2] for name, points in self.points[run].items()
        }

    @rule(run=runs, name=NAMES)
    def a_history_is_read(self, run: str, name: str) -> None:
        seen = [(step, at, kept(value)) for step, at, value in self.world.history(run, name)]
        assert len(seen) == len(set(seen))
        assert set(seen) == self.points[run].get(name, set())

    @rule(name=NAMES, limit=st.integers(-3, 3))
    def runs_are_searched_by_a_metric(self, name: str, limit: int) -> None:
        found = set(self.world.search(f"metrics.`{name}` > {limit}"))
        newest = {run: max(kinds[name], key=order)[2] for run, kinds in self.points.items() if kinds.get(name)}
        wanted = {run for run, value in newest.items() if value != "NaN" and float(value) > limit}
        assert found == wanted - self.gone

    @invariant()
    def all_runs_are_found(self) -> None:
        for deleted, wanted in ((False, set(self.points) - self.gone), (True, self.gone)):
            found = self.world.search(deleted=deleted)
            assert len(found) == len(set(found))
            assert set(found) == wanted

    @rule(name=MODELS)
    def a_model_is_made(self, name: str) -> None:
        with refused(TAKEN if name in self.models else None):
            self.world.create_model(name)
        self.models.setdefault(name, {})
        self.pointers.setdefault(name, {})

    @rule(name=MODELS, run=runs)
    def a_version_is_made(self, name: str, run: str) -> None:
        if name not in self.models:
            with refused(MISSING):
                self.world.create_version(name, run)
            return
        number = self.world.create_version(name, run)
        assert number > self.numbers.get(name, 0), "a number was used twice"
        self.numbers[name] = number
        self.models[name][number] = "None"

    @rule(name=MODELS, data=st.data())
    def a_version_is_deleted(self, name: str, data: st.DataObject) -> None:
        number = self.any_version(name, data)
        with self.refused_unless_there(name, number):
            self.world.delete_version(name, number)
        self.models.get(name, {}).pop(number, None)
        self.pointers[name] = {alias: one for alias, one in self.pointers.get(name, {}).items() if one != number}

    @rule(name=MODELS, alias=ALIASES, data=st.data())
    def an_alias_moves(self, name: str, alias: str, data: st.DataObject) -> None:
        number = self.any_version(name, data)
        with self.refused_unless_there(name, number):
            self.world.set_alias(name, alias, number)
        if number in self.models.get(name, {}):
            self.pointers[name][alias] = number

    @rule(name=MODELS, stage=st.sampled_from(["None", "Staging", "Archived"]), archive=st.booleans(), data=st.data())
    def a_stage_changes(self, name: str, stage: str, archive: bool, data: st.DataObject) -> None:
        number = self.any_version(name, data)
        archive = archive and stage == "Staging"
        with self.refused_unless_there(name, number):
            self.world.set_stage(name, number, stage, archive=archive)
        if number in self.models.get(name, {}):
            for other, at in self.models[name].items():
                if archive and at == stage and other != number:
                    self.models[name][other] = "Archived"
            self.models[name][number] = stage

    @rule(name=MODELS)
    def a_model_is_deleted(self, name: str) -> None:
        with refused(None if name in self.models else MISSING):
            self.world.delete_model(name)
        for kept_of in (self.models, self.pointers):
            kept_of.pop(name, None)
        # Numbers of a model that was deleted and made again are not compared: they need only be new.

    @rule(name=MODELS)
    def a_model_that_is_not_there_is_missing(self, name: str) -> None:
        if name not in self.models:
            with refused(MISSING):
                self.world.aliases(name)

    @invariant()
    def all_models_are_as_they_were_left(self) -> None:
        for name, stages in self.models.items():
            assert self.world.aliases(name) == self.pointers[name]
            assert self.world.stages(name) == stages

    def any_version(self, name: str, data: st.DataObject) -> int:
        """One that there is, or one that there is not."""
        number: int = data.draw(st.sampled_from([*self.models.get(name, {}), 99]))
        return number

    def refused_unless_there(self, name: str, number: int) -> AbstractContextManager[None]:
        return refused(None if number in self.models.get(name, {}) else MISSING)


@contextmanager
def refused(code: str | None) -> Iterator[None]:
    """The block is refused with this code; without one it is not."""
    found = None
    try:
        yield
    except NotDoneError as error:
        found = error.code
    assert found == code


def kept(value: float | str) -> str:
    """A number as it is kept, for comparison: infinity is the largest number."""
    number = float(value)
    return "NaN" if math.isnan(number) else repr(max(-LARGEST, min(LARGEST, number)))


def order(point: tuple[int, int, str]) -> tuple[int, int, float]:
    """The newest point is the largest of these; NaN is kept as 0."""
    step, at, value = point
    return step, at, 0.0 if value == "NaN" else float(value)
