"""Two months of flights through the live system: `boucle up`, real HTTP, a clock that goes faster."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
from held_ports import free_port

pytestmark = pytest.mark.long

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
DAYS = 61
DAY_S = 5.0


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return lived(tmp_path_factory.mktemp("live") / "flights", days=DAYS, day_s=DAY_S)


def lived(folder: Path, *, days: int, day_s: float) -> Any:
    folder.mkdir()
    for name in ("boucle.yaml", "flights.py"):
        shutil.copy(EXAMPLE / name, folder / name)
    port = free_port()
    file = folder / "boucle.yaml"
    file.write_text(file.read_text() + f"serving: {{port: {port}}}\n")
    spec = importlib.util.spec_from_file_location("flights_live", EXAMPLE / "live.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.live(folder, days=days, day_s=day_s)


def test_every_question_is_in_a_window_and_every_label_found_its_own(report: Any) -> None:
    assert report["days"] == DAYS
    assert report["rows"] == 55_541
    assert report["late_rows"] == 0
    assert report["labelled"] > 50_000


def test_the_loop_trains_and_promotes_by_itself_and_is_better_than_the_first_model_alone(report: Any) -> None:
    assert any("is in charge" in one for one in report["decisions"])
    assert report["live"] > report["frozen"] + 0.003


def test_without_a_clock_it_decides_as_a_replay_does_and_on_the_same_day(tmp_path: Path) -> None:
    report = lived(tmp_path / "flights", days=29, day_s=0)
    assert report["decisions"] == ["2013-03-28 version 2: gates passed", "2013-03-28 version 2 is in charge"]
    assert report["late_rows"] == 0
