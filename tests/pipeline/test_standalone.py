"""A pipeline of one's own, in a folder without a project file."""

import subprocess
import sys
from pathlib import Path

import pytest

import boucle

STEPS = """
from pathlib import Path

import boucle


def count(context: boucle.StepContext) -> int:
    (context.folder / "rows.txt").write_text("three")
    return 3


def keep(context: boucle.StepContext) -> int:
    assert (context.folder_of("count") / "rows.txt").read_text() == "three"
    {body}
    return context.value("count", int) + 1


steps = [boucle.Step("count", count, int), boucle.Step("keep", keep, int, needs=("count",))]
result = boucle.run_pipeline(boucle.Pipeline("mine", steps, command="python mine.py"), Path(__file__).parent)
print(*(f"{{outcome.name}}={{outcome.state}}" for outcome in result.outcomes), result.value("keep", int))
"""


def run(folder: Path, body: str = "pass") -> subprocess.CompletedProcess[str]:
    script = folder / "mine.py"
    script.write_text(STEPS.format(body=body))
    return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)


def test_results_are_kept_beside_the_script_and_taken_again_by_the_next_process(tmp_path: Path) -> None:
    assert run(tmp_path).stdout == "count=done keep=done 4\n"
    assert run(tmp_path).stdout == "count=cached keep=cached 4\n"
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name != "__pycache__"] == [".boucle"]


def test_the_database_is_made_only_by_a_step_that_asks_for_the_store(tmp_path: Path) -> None:
    run(tmp_path)
    assert not (tmp_path / ".boucle" / "boucle.db").exists()
    assert run(tmp_path, "context.store.read(lambda connection: None)").stdout == "count=done keep=done 4\n"
    assert (tmp_path / ".boucle" / "boucle.db").is_file()


def test_a_step_that_fails_is_told_with_its_line_and_what_is_kept(tmp_path: Path) -> None:
    told = run(tmp_path, "raise ValueError('no rows')").stderr
    assert "step 'keep' failed: mine.py:14 raised ValueError: no rows" in told
    assert "Done and kept: count." in told


def test_a_script_loads_no_database_library(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        STEPS.format(body="pass") + "\nimport sys\nprint(sorted({'sqlalchemy', 'polars'} & set(sys.modules)))\n"
    )
    assert subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout.endswith(
        "[]\n"
    )


def test_no_threads_are_refused(tmp_path: Path) -> None:
    step = boucle.Step("one", lambda _: 1, int)
    with pytest.raises(boucle.BoucleError, match="0 threads"):
        boucle.run_pipeline(boucle.Pipeline("mine", [step]), tmp_path, threads=0)
