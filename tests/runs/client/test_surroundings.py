"""Whatever a program's surroundings are, it can track, and its run is kept."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import boucle
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.runs.api import get_run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("account", "kept"), [("a" * 300, "a" * 200), (os.fsdecode(b"ann\xff"), "ann?"), ("ann\nbob", "ann?bob")]
)
def test_an_account_of_any_name_has_runs(
    home: Path, opened: Store, monkeypatch: pytest.MonkeyPatch, account: str, kept: str
) -> None:
    monkeypatch.setenv("LOGNAME", account)
    with boucle.start_run(home=home) as run:
        run.log("loss", 0.5)
    found = get_run(opened, run.id)
    assert (found.user, found.status, found.metrics) == (kept, "finished", {"loss": 0.5})


def test_a_program_whose_folder_was_deleted_has_runs(
    home: Path, tmp_path: Path, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with boucle.start_run(home=home) as run:
        run.log("loss", 0.5)
    found = get_run(opened, run.id)
    assert (found.status, found.metrics) == ("finished", {"loss": 0.5})
    assert "boucle.folder" not in found.tags
    with pytest.raises(InvalidInput, match="the current folder was deleted"):
        boucle.start_run()
    monkeypatch.setenv("BOUCLE_HOME", str(home))
    boucle.start_run().finish()


def test_a_folder_whose_name_is_no_text_has_runs_elsewhere(
    home: Path, tmp_path: Path, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / os.fsdecode(b"odd\xff")
    odd.mkdir()
    monkeypatch.chdir(odd)
    with boucle.start_run(home=home) as run:
        run.log("loss", 0.5)
    assert get_run(opened, run.id).metrics == {"loss": 0.5}
    with pytest.raises(InvalidInput, match="whose name is no text"):
        boucle.start_run()


def test_a_folder_of_spools_that_leads_nowhere_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUCLE_SPOOL", "~nobody-of-this-name/spool")
    with pytest.raises(InvalidInput, match="'~nobody-of-this-name/spool', which leads nowhere"):
        boucle.start_run(home=home)


_CHILD = """
import os, sys, boucle
run = boucle.start_run(home=sys.argv[1])
run.log_text("before", "parent.txt")
pid = os.fork()
if not pid:
    if sys.argv[2] == "text":
        run.log_text("hello", "child.txt")
    else:
        run.log_file("/nope", "child.txt")
        run.log_file(__file__, "child.txt")
    run.log("child", 1.0)
    sent = run.flush(20)
    os._exit(0 if sent and run.dropped == (sys.argv[2] == "file") else 1)
print(run.id, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize("kind", ["text", "file"])
def test_a_forked_child_may_begin_with_an_artifact(home: Path, program: Callable[..., Any], kind: str) -> None:
    from boucle.runs.artifacts import all_of

    out, err = program(_CHILD, home, kind).communicate(timeout=60)
    run_id, status = out.split()
    assert status == "0", err
    with Store.open(home) as store:
        paths = {one.path for one in store.read(lambda conn: all_of(conn, "default", run_id, ""))}
        assert paths >= {"parent.txt", "child.txt"}
        assert get_run(store, run_id).metrics == {"child": 1.0}
