"""`boucle audit list`: pages of records, filtered."""

import json
from pathlib import Path

import pytest

from boucle.app.main import run_command
from boucle.kernel import audit
from boucle.kernel.clock import SystemClock
from boucle.kernel.store import Store


def test_it_shows_pages_and_filters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path / "home")]
    with Store.open(tmp_path / "home") as store:
        for number, actor in enumerate(["person:ada", "service:loop", "person:ada"]):
            store.write(
                lambda connection, number=number, actor=actor: audit.append(
                    connection,
                    project_id="default",
                    actor=actor,
                    action="alias.promote",
                    subject=f"flights@champion {number}",
                    details={"reason": "better"},
                    at=SystemClock().now(),
                )
            )
    assert run_command(["audit", "list", *home, "--limit", "2"]) == 0
    printed = capsys.readouterr().out
    assert "service:loop" in printed
    assert "older ones: the same with --before 2" in printed
    assert run_command(["audit", "list", *home, "--before", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert ([one["sequence"] for one in told["records"]], told["before"]) == ([1], None)
    assert run_command(["audit", "list", *home, "--who", "ada", "--json"]) == 0
    assert [one["sequence"] for one in json.loads(capsys.readouterr().out)["records"]] == [3, 1]
    assert run_command(["audit", "list", *home, "--since", "2999-01-01"]) == 0
    assert capsys.readouterr().out == "no such record\n"
    assert run_command(["audit", "list", *home, "--since", "yesterday"]) == 2
    capsys.readouterr()
    assert run_command(["audit", "list", *home, "--before", str(2**63)]) == 2
    assert "whole numbers go up to 9223372036854775807" in capsys.readouterr().err
