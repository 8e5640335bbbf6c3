"""A step's key changes with everything that its result depends on, and with nothing else."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from msgspec import Struct

from boucle.kernel.digests import digest_bytes
from boucle.kernel.errors import BoucleError, InvalidInput, NotFound
from boucle.pipeline.api import Step, StepContext, environment_digest
from boucle.pipeline.fingerprint import first_party, ingredients_of
from boucle.pipeline.imports import legible
from boucle.pipeline.records import Ingredients

ENVIRONMENT = digest_bytes(b"environment")


class Settings(Struct, frozen=True):
    depth: int
    rate: float = 0.1

    def as_method(self, _: StepContext) -> int:
        return self.depth


def plain(_: StepContext) -> int:
    return 1


def capturing(value: object) -> Callable[[StepContext], object]:
    def step(_: StepContext) -> object:
        return value

    return step


def of(root: Path, function: Callable[[StepContext], object] = plain, **fields: object) -> Ingredients:
    step = Step("s", function, object, **fields)  # type: ignore[arg-type]
    return ingredients_of(step, first_party(root), root, ENVIRONMENT)


def test_the_same_step_twice(tmp_path: Path) -> None:
    assert of(tmp_path, params={"a": 1, "b": 2}) == of(tmp_path, params={"b": 2, "a": 1})


def test_params_count(tmp_path: Path) -> None:
    given = [None, 1, 1.0, "1", {"a": 1}, Settings(3), Settings(4), [Settings(3)]]
    assert len({of(tmp_path, params=params).params for params in given}) == len(given)


def test_captured_values_count_as_params(tmp_path: Path) -> None:
    def with_default(_: StepContext, depth: int = 3) -> int:
        return depth

    def other_default(_: StepContext, *, depth: int = 4) -> int:
        return depth

    functions: list[Callable[[StepContext], object]] = [
        capturing(1),
        capturing(2),
        capturing(Settings(1)),
        capturing(capturing(2)),
        partial(plain),
        partial(capturing(7), 8),
        Settings(1).as_method,
        Settings(2).as_method,
        with_default,
        other_default,
    ]
    keys = {(found.code, found.params) for found in (of(tmp_path, function) for function in functions)}
    assert len(keys) == len(functions)
    assert of(tmp_path, capturing(1)) == of(tmp_path, capturing(1))


def test_a_function_may_capture_itself(tmp_path: Path) -> None:
    def count(ctx: StepContext, down: int = 3) -> int:
        return count(ctx, down - 1) if down else 0

    assert of(tmp_path, count).code


def test_what_cannot_be_seen_is_refused(tmp_path: Path) -> None:
    for hidden in (object(), tmp_path, lambda: object()):
        function = capturing(hidden) if not callable(hidden) else capturing(hidden())
        with pytest.raises(InvalidInput, match="what the function of step 's' captures cannot be written as JSON"):
            of(tmp_path, function)
    with pytest.raises(InvalidInput, match="`params` of step 's' cannot be written as JSON"):
        of(tmp_path, params=object())
    with pytest.raises(InvalidInput, match="has no source file"):
        of(tmp_path, eval("lambda ctx: 1"))


def test_sources_count_by_their_bytes_and_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.csv").write_text("x\n1\n")
    first = of(tmp_path, sources=(Path("a.csv"),))
    assert first == of(tmp_path, sources=(tmp_path / "a.csv",))
    assert first != of(tmp_path, sources=(Path("b.csv"),))
    (tmp_path / "a.csv").write_text("x\n2\n")
    assert first != of(tmp_path, sources=(Path("a.csv"),))
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "1.csv").write_text("x\n1\n")
    folder = of(tmp_path, sources=(Path("parts"),))
    (tmp_path / "parts" / "2.csv").write_text("x\n1\n")
    assert folder != of(tmp_path, sources=(Path("parts"),))


def test_a_python_source_counts_with_what_it_imports(tmp_path: Path) -> None:
    (tmp_path / "table.py").write_text("import cleaning\n")
    (tmp_path / "cleaning.py").write_text("from units import FAHRENHEIT\n")
    (tmp_path / "units.py").write_text("FAHRENHEIT = True\n")
    (tmp_path / "other.py").write_text("")
    before = of(tmp_path, sources=(Path("table.py"),))
    (tmp_path / "other.py").write_text("x = 1\n")
    assert of(tmp_path, sources=(Path("table.py"),)) == before
    (tmp_path / "units.py").write_text("FAHRENHEIT = False\n")
    assert of(tmp_path, sources=(Path("table.py"),)) != before


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"step 's' reads 'flights\.csv', which is no file or folder"):
        of(tmp_path, sources=(Path("flights.csv"),))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    looping = tmp_path / "loop.csv"
    looping.symlink_to(looping)
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("loop.csv", "pipe.csv"):
        with pytest.raises(BoucleError, match=name):
            of(tmp_path, sources=(Path(name),))
    with pytest.raises(InvalidInput, match=r"cannot read '.*gone\.py'"), legible(tmp_path):
        (tmp_path / "gone.py").read_bytes()


def test_a_moved_project_keeps_its_keys(tmp_path: Path) -> None:
    found = []
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "table.py").write_text("import os\n")
        (folder / "a.csv").write_text("x\n")
        found.append(of(folder, sources=(Path("table.py"), Path("a.csv"))))
    assert found[0] == found[1]


def test_the_environment_digest_sees_versions(tmp_path: Path) -> None:
    def installed(*names: str) -> str:
        folder = tmp_path / "-".join(["site", *names])
        folder.mkdir()
        for name in names:
            (folder / f"{name}.dist-info").mkdir()
        (folder / "numpy").mkdir()
        return environment_digest([str(folder), str(tmp_path / "missing")])

    assert installed("numpy-2.0", "polars-1.0") == installed("polars-1.0", "numpy-2.0")
    assert installed("numpy-2.1") != installed("numpy-2.2")
    assert environment_digest() == environment_digest()
