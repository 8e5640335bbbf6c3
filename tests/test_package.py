"""`import boucle` costs next to nothing, and its names are those that it says it has."""

import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import boucle

HEAVY = [
    "alembic",
    "altair",
    "granian",
    "numpy",
    "optuna",
    "polars",
    "pyarrow",
    "rich",
    "scipy",
    "sklearn",
    "sqlalchemy",
]


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint('\\n' + ' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_loads_nothing_but_itself() -> None:
    assert loaded_by("import boucle") - loaded_by("pass") - sys.stdlib_module_names == {"boucle"}


def seconds_of(statement: str) -> float:
    """Processor time of a fresh interpreter, the least of some: other programs on the machine count for nothing."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", statement], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(5))


def test_importing_takes_next_to_no_time() -> None:
    assert seconds_of("import boucle") - seconds_of("pass") < 0.06


def test_the_errors_load_nothing_heavy() -> None:
    assert not loaded_by("import boucle; boucle.BoucleError").intersection(HEAVY)


def test_starting_a_run_loads_nothing_heavy() -> None:
    loaded = loaded_by("import boucle; boucle.start_run; boucle.tracked; boucle.Registry")
    outside = loaded - loaded_by("pass") - sys.stdlib_module_names
    assert {name for name in outside if not name.startswith("_")} - {"typing_extensions"} == {"boucle", "msgspec"}
    assert not loaded & {"http", "ssl", "email", "asyncio", "sqlite3", "importlib.metadata"}


def test_help_loads_nothing_heavy() -> None:
    loaded = loaded_by("from boucle.app.main import run_command\nrun_command(['--help'])")
    assert not loaded.intersection([*HEAVY, "msgspec", "ruamel", "jinja2"])


def test_what_deploys_loads_nothing_that_computes() -> None:
    loaded = loaded_by(
        "import boucle.loop.rollout, boucle.governance.evidence, boucle.project.records, boucle.app.registry"
    )
    assert not loaded & {"numpy", "polars", "sklearn", "scipy", "altair", "optuna", "onnxruntime"}


def test_names_are_sorted_and_there() -> None:
    assert boucle.__all__ == sorted(boucle.__all__)
    assert dir(boucle) == boucle.__all__
    for name in boucle.__all__:
        assert getattr(boucle, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        boucle.colour  # noqa: B018 - asking is the test


def test_the_version_is_the_distribution_s() -> None:
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == boucle.__version__


def test_every_public_name_stands_in_the_reference() -> None:
    reference = (Path(__file__).resolve().parents[1] / "docs" / "reference.md").read_text()
    assert [name for name in boucle.__all__ if name != "__version__" and f"`{name}" not in reference] == []
