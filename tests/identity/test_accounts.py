import base64
import re
from typing import get_args

import msgspec
import pytest

from boucle.identity import accounts
from boucle.identity.api import GRANTS, Principal, Role, UserDoor, permit
from boucle.kernel import audit
from boucle.kernel.clock import FixedClock
from boucle.kernel.errors import BoucleError, Conflict, InvalidInput, NotFound, Refused, Unauthenticated
from boucle.kernel.store import Store

ROOT = "person:root"
DAY_S = 86_400


def add(store: Store, name: str = "ada", role: str = "admin", days: int = 90) -> str:
    return accounts.add(store, name, role, days=days, actor=ROOT).text


def ask(door: UserDoor, token: str) -> Principal:
    return door.principal_of(f"Bearer {token}", "10.0.0.7")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_without_users_only_this_machine_comes_in_and_approves_nothing(store: Store) -> None:
    door = accounts.open_door(store)
    local = door.principal_of(None, "127.0.0.1")
    assert local.may == GRANTS["admin"]
    with pytest.raises(Refused, match="reviewer may review"):
        permit("review", local)
    with pytest.raises(Unauthenticated):
        door.principal_of(None, "10.0.0.7")


def test_with_users_every_request_needs_a_token_on_this_machine_too(store: Store) -> None:
    door = accounts.open_door(store)
    token = add(store)
    for header in (None, "", "Bearer", "Bearer x", f"Token {token}", f"Bearer {token[:-1]}", f"Bearer {token}0",
                   f"Bearer {token} {token}", f"Bearer {token.upper()}", "Basic", "Basic ?", basic("ada", "x"),
                   basic("bob", token), basic("", token), basic("ada", token[:-1]),
                   "Bearer " + "a" * 10_000):  # fmt: skip
        with pytest.raises(Unauthenticated) as raised:
            door.principal_of(header, "127.0.0.1")
        assert token[30:] not in repr((raised.value.message, raised.value.hint, raised.value.details))
    for header in (f"Bearer {token}", f"bearer {token}", basic("ada", token)):
        principal = door.principal_of(header, "127.0.0.1")
        assert (principal.name, principal.kind, principal.role) == ("person:ada", "person", "admin")


def test_nothing_tells_whether_a_user_or_a_token_exists(store: Store) -> None:
    door = accounts.open_door(store)
    token = add(store)
    _, known, secret = token.split("_")
    told = set()
    for header in (f"Bearer boucle_{known}_{'0' * 64}", f"Bearer boucle_{'0' * 16}_{secret}", basic("eve", token)):
        with pytest.raises(Unauthenticated) as raised:
            door.principal_of(header, "10.0.0.7")
        told.add((raised.value.message, raised.value.hint))
    assert len(told) == 1


@pytest.mark.parametrize("role", get_args(Role))
def test_each_role_may_what_it_grants_and_learns_who_may_the_rest(store: Store, role: Role) -> None:
    add(store)
    principal = ask(accounts.open_door(store), add(store, "bob", role))
    for policy in GRANTS["admin"] | GRANTS["reviewer"]:
        if policy in GRANTS[role]:
            permit(policy, principal)
            continue
        with pytest.raises(Refused, match=f"person:bob is {role}") as raised:
            permit(policy, principal)
        if policy == "administer":
            assert "boucle users list" in (raised.value.hint or "")
            continue
        needed = re.search(r"boucle users role bob (\w+)", raised.value.hint or "")
        assert needed
        assert policy in GRANTS[needed[1]]  # type: ignore[index]


def test_roles_nest_but_for_approval() -> None:
    assert GRANTS["reader"] < GRANTS["author"] < GRANTS["admin"]
    assert GRANTS["reader"] < GRANTS["reviewer"]
    assert [role for role, may in GRANTS.items() if "review" in may] == ["reviewer"]


def test_a_token_may_be_limited_to_a_lesser_role(store: Store) -> None:
    add(store)
    door = accounts.open_door(store)
    limited = ask(door, accounts.issue(store, "ada", role="reader", actor=ROOT).text)
    assert (limited.role, limited.may) == ("admin", GRANTS["reader"])
    with pytest.raises(Refused, match="limited") as raised:
        permit("write", limited)
    assert raised.value.hint == "boucle users token ada"
    with pytest.raises(InvalidInput, match="allowed for a token are reader, author, admin"):
        accounts.issue(store, "ada", role="reviewer", actor=ROOT)


def test_a_token_expires(store: Store) -> None:
    token = add(store, days=2)
    door = accounts.open_door(store)
    assert isinstance(store.clock, FixedClock)
    store.clock.advance(2 * DAY_S - 1)
    ask(door, token)
    store.clock.advance(1)
    with pytest.raises(Unauthenticated, match="expired") as raised:
        ask(door, token)
    assert raised.value.hint == "boucle users token ada"
    with pytest.raises(Unauthenticated, match="not valid"):
        ask(door, token[:-4] + "0000")


@pytest.mark.parametrize("days", [0, -1, 367])
def test_days_are_bounded(store: Store, days: int) -> None:
    with pytest.raises(InvalidInput, match="1 to 366"):
        add(store, days=days)
    assert accounts.everyone(store) == []


def test_what_changes_counts_at_once(store: Store) -> None:
    door = accounts.open_door(store)
    add(store)
    made = accounts.add(store, "bob", "author", actor=ROOT)
    assert "write" in ask(door, made.text).may
    accounts.change_role(store, "bob", "reader", actor=ROOT)
    assert "write" not in ask(door, made.text).may
    other = accounts.issue(store, "bob", actor=ROOT)
    assert accounts.revoke(store, made.token.id, actor=ROOT) == "bob"
    ask(door, other.text)
    with pytest.raises(Unauthenticated):
        ask(door, made.text)
    accounts.remove(store, "bob", actor=ROOT)
    with pytest.raises(Unauthenticated):
        ask(door, other.text)


def test_who_knocks_reads_the_rows_only_after_a_change(store: Store) -> None:
    token = add(store)
    reads = []
    opened = accounts.open_door(store)
    door = UserDoor(store.people, lambda: reads.append(1) or opened._load(), store.clock)  # type: ignore[func-returns-value]
    for _ in range(20):
        ask(door, token)
        with pytest.raises(Unauthenticated):
            ask(door, "boucle_" + "0" * 16 + "_" + "0" * 64)
    assert len(reads) == 1
    add(store, "bob", "reader")
    ask(door, token)
    assert len(reads) == 2


def test_while_a_change_is_under_way_nothing_is_kept(store: Store) -> None:
    token = add(store)
    door = accounts.open_door(store)
    ask(door, token)
    store.people.change()
    ask(door, token)
    assert door._kept[0] is None
    store.write(lambda _: None)  # any commit settles it
    ask(door, token)
    assert door._kept[0] is not None


def test_a_lost_file_costs_time_and_nothing_else(store: Store) -> None:
    made = accounts.add(store, "ada", "admin", actor=ROOT)
    door = accounts.open_door(store)
    ask(door, made.text)
    (store.home / "identity.json").unlink()
    accounts.revoke(store, made.token.id, actor=ROOT)
    (store.home / "identity.json").unlink()
    with pytest.raises(Unauthenticated):
        ask(door, made.text)


def test_the_first_user_is_an_admin_and_the_last_admin_stays(store: Store) -> None:
    with pytest.raises(Refused, match="first user must be an admin"):
        add(store, role="author")
    add(store)
    for change in (lambda: accounts.remove(store, "ada", actor=ROOT),
                   lambda: accounts.change_role(store, "ada", "author", actor=ROOT)):  # fmt: skip
        with pytest.raises(Refused, match="last admin"):
            change()
    add(store, "bob")
    accounts.remove(store, "ada", actor=ROOT)
    assert [user.name for user in accounts.everyone(store)] == ["bob"]


@pytest.mark.parametrize("name", ["", "Ada", "1a", "a b", "a" * 65, "ada\n", "é", "../x", "boucle_0011223344556677_ff"])
def test_a_name_is_plain(store: Store, name: str) -> None:
    with pytest.raises(InvalidInput, match="no name of a user") as raised:
        add(store, name)
    assert "_ff" not in raised.value.message


def test_what_is_not_there_or_there_already(store: Store) -> None:
    token = add(store)
    with pytest.raises(Conflict, match="already"):
        add(store)
    with pytest.raises(InvalidInput, match="no role"):
        add(store, "bob", "owner")
    for ask_for in (lambda: accounts.issue(store, "eve", actor=ROOT), lambda: accounts.remove(store, "eve", actor=ROOT),
                    lambda: accounts.revoke(store, "0" * 16, actor=ROOT)):  # fmt: skip
        with pytest.raises(NotFound) as raised:
            ask_for()
        assert raised.value.hint == "boucle users list"
    with pytest.raises(InvalidInput, match="whole token") as whole:
        accounts.revoke(store, token, actor=ROOT)
    assert token.split("_")[2] not in f"{whole.value.message}{whole.value.hint}"


def test_no_secret_stands_anywhere_but_on_the_screen(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    made = [accounts.add(store, "ada", "admin", actor=ROOT), accounts.issue(store, "ada", days=1, actor=ROOT)]
    door = accounts.open_door(store)
    for one in made:
        ask(door, one.text)
        with pytest.raises(BoucleError):
            door.principal_of(basic("eve", one.text), "10.0.0.7")
    accounts.revoke(store, made[1].token.id, actor=ROOT)
    store.database.close()
    for one in made:
        secret = one.text.split("_")[2].encode()
        assert secret not in msgspec.json.encode(one.token)
        assert secret.decode() not in caplog.text
        for file in store.home.rglob("*"):
            assert not file.is_file() or secret not in file.read_bytes(), file


def test_the_audit_log_tells_every_change(store: Store) -> None:
    add(store)
    made = accounts.add(store, "bob", "author", actor=ROOT)
    accounts.issue(store, "bob", role="reader", days=3, actor=ROOT)
    accounts.change_role(store, "bob", "reader", actor=ROOT)
    accounts.revoke(store, made.token.id, actor=ROOT)
    accounts.remove(store, "bob", actor=ROOT)
    told = store.read(lambda conn: audit.records(conn, project_id=accounts.EVERY_PROJECT))
    assert [one.action for one in told] == [
        "user.add", "token.add", "user.add", "token.add", "token.add", "user.role", "token.revoke", "user.remove",
    ]  # fmt: skip
    assert {one.actor for one in told} == {ROOT}
    assert audit.verify(store).problems == []


def test_wrong_tokens_are_held_back_after_a_while_and_right_ones_never(store: Store) -> None:
    token = add(store)
    door = accounts.open_door(store)
    delays = []
    for _ in range(12):
        with pytest.raises(Unauthenticated) as raised:
            ask(door, "boucle_" + "0" * 16 + "_" + "0" * 64)
        delays.append(raised.value.delay_s)
    assert delays[0] == 0
    assert 0 < delays[-1] <= 1
    ask(door, token)
    with pytest.raises(Unauthenticated) as raised:
        door.principal_of(None, "10.0.0.7")
    assert raised.value.delay_s == 0, "no token is no guess"


def test_a_command_acts_for_whose_token_it_has(store: Store) -> None:
    with pytest.raises(Refused, match="no users"):
        accounts.person_of(store, "x")
    add(store)
    assert accounts.person_of(store, add(store, "bob", "reviewer")).may == GRANTS["reviewer"]
    with pytest.raises(Unauthenticated):
        accounts.person_of(store, "x")
