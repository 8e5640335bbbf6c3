import getpass

import pytest

from boucle.identity.api import LOOP, local_principal


def test_the_local_principal_is_the_person_at_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    principal = local_principal()
    assert (principal.name, principal.kind) == ("person:ada", "person")


def test_an_account_without_a_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert local_principal().name == "person:unknown"


def test_the_loop_is_a_service() -> None:
    assert (LOOP.name, LOOP.kind) == ("service:loop", "service")
