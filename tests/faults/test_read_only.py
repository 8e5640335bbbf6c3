"""A store on a file system that cannot be written: whatever only reads goes on, whatever writes says why it cannot."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pytest

from boucle.app.main import run_command
from boucle.kernel import audit
from boucle.kernel.errors import Unavailable
from boucle.kernel.store import Store

AT = datetime(2013, 3, 1, tzinfo=UTC)
READS = (["status"], ["models", "list"], ["audit", "verify"], ["pins", "list"], ["gc", "--grace", "0"], ["fsck"])


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder, mounted upon itself so that nothing can be written."""
    mounted = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"this account may not mount a folder ({mounted.stderr.strip()})")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
def test_reading_commands_go_on_where_nothing_can_be_written(
    tmp_path: Path, lay: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    project = lay(tmp_path / "project")
    backup = ["backup", str(tmp_path / "b.tar")]
    with read_only(project / ".boucle"):
        ended = {tuple(words): run_command([*words, "--project", str(project)]) for words in (*READS, backup)}
        assert set(ended.values()) == {0}, (ended, capsys.readouterr().err)
        assert run_command(["gc", "--delete", "--grace", "0", "--project", str(project)]) == 5
    said = capsys.readouterr().err.casefold()
    assert "read-only" in said
    assert "--home dir" in said
    assert run_command(["backup", "--verify", str(tmp_path / "b.tar")]) == 0


def test_what_stands_in_the_log_only_is_read_and_writing_is_refused_in_words(store: Store, tmp_path: Path) -> None:
    store.write(lambda c: audit.append(c, project_id="p", actor="a", action="x", subject="newest", details={}, at=AT))
    left = copytree(store.home, tmp_path / "left", ignore=ignore_patterns("*-shm", "*.lock*"))
    assert (left / "boucle.db-wal").stat().st_size > 0
    with read_only(left), Store.open(left) as again:
        records = again.read(lambda c: audit.records(c, project_id="p"))
        assert [one.subject for one in records] == ["newest"]
        with pytest.raises(Unavailable, match="read-only") as raised:
            again.write(audit.is_empty)
        assert "--home DIR" in (raised.value.hint or "")
