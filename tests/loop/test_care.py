"""A store that a replay filled: it is sound, comes back from a backup, and goes on after all that can go is gone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boucle.app.main import run_command

SHORT = {"last: 2024-03-10": "last: 2024-02-13"}


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The facts that a command tells; it must end with 0."""
    code = run_command([*words, "--json"])
    told = capsys.readouterr()
    assert code == 0, told
    return dict(json.loads(told.out))


@pytest.mark.slow
def test_a_replayed_store_is_sound_comes_back_and_goes_on(
    world: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world(tmp_path / "orders", changes=SHORT))
    replayed = ask(capsys, "replay")
    assert ask(capsys, "fsck") == {"problems": []}
    status = ask(capsys, "status")
    tar, drill = str(tmp_path / "b.tar"), ("--home", str(tmp_path / "drill"))
    ask(capsys, "backup", tar)
    ask(capsys, "backup", "--verify", tar)
    ask(capsys, "restore", tar, *drill)
    assert ask(capsys, "status", *drill) == status
    assert ask(capsys, "audit", "verify", *drill)["problems"] == []
    assert ask(capsys, "fsck", *drill) == {"problems": []}

    dry = ask(capsys, "gc", "--grace", "0", "--cache-days", "0", *drill)
    assert {one["kind"] for one in dry["gone"]} >= {"step result", "bundle folder"}
    assert ask(capsys, "gc", "--delete", "--grace", "0", "--cache-days", "0", *drill)["deleted"] is True
    assert ask(capsys, "gc", "--delete", "--grace", "0", "--cache-days", "0", *drill)["gone"] == []
    assert ask(capsys, "fsck", *drill) == {"problems": []}
    assert ask(capsys, "status", *drill) == status
    again = ask(capsys, "replay", *drill)
    assert again["already_complete"] is True
    assert again["decisions"] == replayed["decisions"]

    yaml = Path("boucle.yaml")
    yaml.write_text(yaml.read_text().replace("loop:", "governance: {keep_days: 3}\nloop:", 1))
    expired = ask(capsys, "gc", "--delete", "--grace", "0", *drill)["expired"]
    assert expired["monitoring_windows"] > 8
    assert expired["monitoring_labels"] > 5
    assert ask(capsys, "fsck", *drill) == {"problems": []}
    assert ask(capsys, "audit", "verify", *drill)["problems"] == []
    assert ask(capsys, "replay", *drill)["already_complete"] is True
