"""The page about compiling is what was measured, and what it says still holds."""

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

COMPILING = Path(__file__).resolve().parents[2] / "benchmarks" / "compiling"


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"compiling_{name}", COMPILING / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_kept_outcomes_give(tmp_path: Path) -> None:
    page = loaded("page")
    page.write(tmp_path / "compile.md")
    assert (tmp_path / "compile.md").read_text() == page.PAGE.read_text()


def test_the_commonest_estimators_are_equal_on_all_data() -> None:
    cells = json.loads((COMPILING / "matrix.json").read_text())
    wrong = {
        (name, kind): outcomes["boucle"]
        for name, kinds in cells.items()
        for kind, outcomes in kinds.items()
        if "largest" not in outcomes["boucle"]
    }
    assert set(wrong) <= KNOWN
    assert len(cells) >= 28


KNOWN = {("KNeighborsClassifier", "borders"), ("KNeighborsRegressor", "borders")}
"""Rows of equal distance: which of them is nearest, scikit-learn leaves to its rounding."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [("RandomForestClassifier", "missing"), ("HistGradientBoostingClassifier", "native"), ("Ridge", "borders")],
)
def test_a_few_cells_still_hold(name: str, kind: str) -> None:
    kept = json.loads((COMPILING / "matrix.json").read_text())[name][kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        now = dict(loaded("matrix").judged(name, kind))
    assert {compiler: "largest" in said for compiler, said in now.items()} == {
        compiler: "largest" in said for compiler, said in kept.items()
    }
    assert now["boucle"]["largest"] <= 1e-9
