"""`boucle check --fix` at the command line."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

YAML = """\
project: sweets
data:
  sorce: table.csv   # from the shop
  target: good
  features: {numeric: [sugar, same]}
"""
MENDED = YAML.replace("sorce", "source").replace("[sugar, same]", "[sugar]")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = {"sugar": [n % 7 for n in range(100)], "same": [1] * 100, "good": [n % 2 for n in range(100)]}
    pl.DataFrame(table).write_csv(tmp_path / "table.csv")
    (tmp_path / "boucle.yaml").write_text(YAML)
    return tmp_path


def check(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "boucle", "check", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_file_is_mended_shown_and_kept_as_it_was(folder: Path) -> None:
    (folder / "boucle.yaml").chmod(0o664)
    refused = check(folder)
    assert refused.returncode == 2
    assert "`boucle check --fix` mends it" in refused.stderr
    done = check(folder, "--fix")
    assert done.returncode == 0, done.stderr
    assert "-  sorce: table.csv   # from the shop\n+  source: table.csv   # from the shop\n" in done.stdout
    assert (folder / "boucle.yaml").read_text() == MENDED
    assert (folder / "boucle.yaml.bak").read_text() == YAML
    assert {(folder / name).stat().st_mode & 0o777 for name in ("boucle.yaml", "boucle.yaml.bak")} == {0o664}
    assert not (folder / ".boucle").exists()


@pytest.mark.slow
def test_what_is_mended_stays_mended_although_something_is_left(folder: Path) -> None:
    (folder / "boucle.yaml").write_text(YAML.replace("  target: good\n", ""))
    left = check(folder, "--fix")
    assert left.returncode == 2
    assert "the key `target` is missing" in left.stderr
    assert "source: table.csv   # from the shop" in (folder / "boucle.yaml").read_text()


@pytest.mark.slow
def test_a_sound_file_is_not_touched(folder: Path) -> None:
    (folder / "boucle.yaml").write_text(MENDED)
    assert "boucle.yaml: nothing to mend" in check(folder, "--fix").stdout
    assert not (folder / "boucle.yaml.bak").exists()
