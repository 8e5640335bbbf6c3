"""Every door of the registry on a real home and server with users: MLflow's protocol, the native one, CLI, SDK."""

import http.client
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from held_ports import free_port

import boucle
from boucle.app.main import run_command
from boucle.governance import api as governance
from boucle.governance.records import Objective, Policy
from boucle.identity import accounts
from boucle.identity.api import GRANTS, Principal, local_principal
from boucle.kernel import trees
from boucle.kernel.errors import (
    Conflict,
    GatesRefused,
    InvalidInput,
    NotFound,
    NothingStored,
    Refused,
    Unauthenticated,
    Unavailable,
)
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.models import commands
from boucle.packaging.signing import new_key, private_pem, public_pem, read_private, sign

pytestmark = pytest.mark.slow
STRICT = Policy(reviews=1)
MISSING = "0 approvals by persons, at least 1 is required"
AUTHOR, REVIEWER, ADMIN = "person:trainer", "person:grace", "person:root"


class Told(NamedTuple):
    """What a door said."""

    opened: bool
    text: str
    """Message and hint of a refusal."""


class House(NamedTuple):
    """A home, its server, and everybody's token."""

    home: Path
    port: int
    tokens: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: object = None, *, who: str = "trainer") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"authorization": f"Bearer {self.tokens[who]}", "content-type": "application/json"}
        try:
            connection.request(method, path, json.dumps(body or {}), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    with Store.open(folder / ".boucle") as store:
        roles = {"root": "admin", "trainer": "author", "grace": "reviewer", "rea": "reader"}
        tokens = {name: accounts.add(store, name, role, actor=ADMIN).text for name, role in roles.items()}
    port = free_port()
    command = [sys.executable, "-m", "boucle", "up", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert any("MLFLOW_TRACKING_URI" in line for line in process.stdout)
        yield House(folder / ".boucle", port, tokens)
    finally:
        process.terminate()
        _, errors = process.communicate()
    assert "Traceback" not in errors


def furnish(house: House, model: str, tmp_path: Path) -> None:
    """Version 1 in charge of alias and stage, version 2 waiting for a review, under a policy."""
    (tmp_path / "model").mkdir()
    who: dict[str, Any] = {"project_id": "default", "model": model}
    with Store.open(house.home) as store:
        models.create_model(store, project_id="default", name=model, author=AUTHOR)
        for number in (1, 2):
            (tmp_path / "model" / "weights").write_text(f"{model} {number}")
            digest = trees.freeze(store.blobs, tmp_path / "model")
            models.create_version(store, **who, bundle_digest=digest, author=AUTHOR, source=None)
        governance.set_policy(store, local_principal(), **who, policy=STRICT)
        reviewer = Principal(REVIEWER, "person", GRANTS["reviewer"], "reviewer")
        governance.review_version(store, reviewer, **who, number=1, verdict="approve")
        governance.set_alias(store, **who, alias="champion", number=1, actor=AUTHOR)
        governance.set_stage(store, **who, number=1, stage="Production", archive_existing=False, actor=AUTHOR)


def in_charge(house: House, model: str) -> tuple[int | None, list[str]]:
    with Store.open(house.home) as store:
        move = models.alias(store, "default", model, "champion")
        return None if move is None else move.number, [
            one.stage for one in models.list_versions(store, "default", model)
        ]


Door = Callable[[House, str, pytest.MonkeyPatch, pytest.CaptureFixture[str]], Told]


def by_mlflow(method: str, path: str, **body: object) -> Door:
    def go(house: House, model: str, *_: object) -> Told:
        status, told = house.ask(method, f"/api/2.0/mlflow/{path}", {"name": model, **body})
        assert status in (200, 403), told
        return Told(status == 200, told.get("message", ""))

    return go


def by_native(method: str, path: str, **body: object) -> Door:
    def go(house: House, model: str, *_: object) -> Told:
        status, told = house.ask(method, f"/api/v1/models/{model}{path}", body)
        assert status in (200, 403), told
        refusal = told.get("error", {})
        return Told(status == 200, f"{refusal.get('message')}; {refusal.get('hint')}")

    return go


def by_command(*words: str) -> Door:
    def go(house: House, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
        monkeypatch.chdir(house.home.parent)
        monkeypatch.setenv("BOUCLE_TOKEN", house.tokens["trainer"])
        code = run_command(["models", words[0], model, *words[1:]])
        assert code in (0, 3)
        return Told(code == 0, " ".join(capsys.readouterr().err.split()))

    return go


def by_sdk(*, server: bool, stage: str | None = None) -> Door:
    def go(house: House, model: str, *_: object) -> Told:
        mine = registry(house, "trainer", server=server)
        try:
            if stage is None:
                mine.promote(model, 2, reason="better")
            else:
                mine.set_stage(model, 2, stage, reason="better")
        except GatesRefused as error:
            verdicts: Any = error.details["verdicts"]
            assert not all(one["passed"] for one in verdicts)
            return Told(False, f"{error.message}; {error.hint}")
        return Told(True, "")

    return go


def registry(house: House, who: str, *, server: bool) -> boucle.Registry:
    place = {"url": house.url} if server else {"home": str(house.home)}
    return boucle.Registry(**place, project="default", token=house.tokens[who])


NEEDS_APPROVAL: dict[str, Door] = {
    "alias, MLflow": by_mlflow("POST", "registered-models/alias", alias="champion", version="2"),
    "stage, MLflow": by_mlflow("POST", "model-versions/transition-stage", version="2", stage="Production"),
    "stage and archive, MLflow": by_mlflow(
        "POST", "model-versions/transition-stage", version="2", stage="production", archive_existing_versions=True
    ),
    "alias, native": by_native("PUT", "/aliases/champion", version=2),
    "stage, native": by_native("PUT", "/versions/2/stage", stage="Production"),
    "stage and archive, native": by_native("PUT", "/versions/2/stage", stage="Production", archive_existing=True),
    "alias, CLI": by_command("promote", "2"),
    "stage, CLI": by_command("promote", "2", "--stage", "Production"),
    "stage and archive, CLI": by_command("promote", "2", "--stage", "Production", "--archive", "--reason", "better"),
    "alias, SDK at the server": by_sdk(server=True),
    "alias, SDK at the home": by_sdk(server=False),
    "stage, SDK at the server": by_sdk(server=True, stage="Production"),
    "stage, SDK at the home": by_sdk(server=False, stage="Production"),
}
NEVER_OPEN: dict[str, Door] = {
    "take the alias away, MLflow": by_mlflow("DELETE", "registered-models/alias", alias="champion"),
    "leave the stage, MLflow": by_mlflow("POST", "model-versions/transition-stage", version="1", stage="Archived"),
    "delete the version, MLflow": by_mlflow("DELETE", "model-versions/delete", version="1"),
    "delete the model, MLflow": by_mlflow("DELETE", "registered-models/delete"),
    "rename the model, MLflow": by_mlflow("POST", "registered-models/rename", new_name="free"),
    "leave the stage, native": by_native("PUT", "/versions/1/stage", stage="Archived"),
    "take the policy away, native": by_native("DELETE", "/policy"),
    "set another policy, native": by_native("PUT", "/policy", policy={}),
    "approve without the role, native": by_native("POST", "/versions/2/approve"),
    "waive without the role, native": by_native("POST", "/versions/2/waivers", gate="parity", reason="r"),
    "approve the policy's change without the role, native": by_native("POST", "/policy/approve"),
    "approve without the role, CLI": by_command("approve", "2"),
    "waive without the role, CLI": by_command("waive", "2", "parity", "--reason", "r"),
}
WAYS_TO_APPROVE: list[Callable[[House, str], object]] = [
    lambda house, model: house.ask("POST", f"/api/v1/models/{model}/versions/2/approve", who="grace"),
    lambda house, model: registry(house, "grace", server=True).approve(model, 2, comment="fine"),
    lambda house, model: registry(house, "grace", server=False).approve(model, 2),
]


@pytest.mark.parametrize("number", range(len(NEEDS_APPROVAL)), ids=list(NEEDS_APPROVAL))
def test_a_door_is_shut_until_another_person_approves(
    house: House, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    door, model = list(NEEDS_APPROVAL.values())[number], f"shut{number}"
    furnish(house, model, tmp_path)
    told = door(house, model, monkeypatch, capsys)
    assert not told.opened
    assert MISSING in told.text
    assert f"boucle models approve {model} 2" in told.text
    assert in_charge(house, model) == (1, ["Production", "None"])
    WAYS_TO_APPROVE[number % len(WAYS_TO_APPROVE)](house, model)
    assert door(house, model, monkeypatch, capsys).opened
    assert in_charge(house, model) != (1, ["Production", "None"])


def command(house: House, monkeypatch: pytest.MonkeyPatch, *words: str, who: str = "trainer") -> int:
    monkeypatch.chdir(house.home.parent)
    monkeypatch.setenv("BOUCLE_TOKEN", house.tokens[who])
    return run_command(list(words))


def furnish_signed(house: House, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """As `furnish`, under a policy that asks for Ada's signature; the keys of Ada and of Eve."""
    for name in ("ada", "eve"):
        key = new_key()
        (tmp_path / f"{name}.pem").write_bytes(private_pem(key))
        (tmp_path / f"{name}.pub").write_bytes(public_pem(key.public_key()))
    furnish(house, model, tmp_path)
    ada, eve = (str(tmp_path / f"{name}.pem") for name in ("ada", "eve"))
    assert command(house, monkeypatch, "sign", f"{model}/1", "--key", ada) == 0
    words = ("models", "policy", "set", model, "--reviews", "1", "--require-signature", str(tmp_path / "ada.pub"))
    assert command(house, monkeypatch, *words, who="root") == 0
    WAYS_TO_APPROVE[0](house, model)
    return ada, eve


@pytest.mark.parametrize("number", range(len(NEEDS_APPROVAL)), ids=list(NEEDS_APPROVAL))
def test_a_door_is_shut_until_an_allowed_key_signs(
    house: House, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    door, model = list(NEEDS_APPROVAL.values())[number], f"unsigned{number}"
    ada, eve = furnish_signed(house, model, tmp_path, monkeypatch)
    for signed in ([], ["sign", f"{model}/2", "--key", eve]):
        assert not signed or command(house, monkeypatch, *signed) == 0
        capsys.readouterr()
        told = door(house, model, monkeypatch, capsys)
        assert not told.opened
        assert "no allowed key signed the files" in told.text
        assert f"boucle sign {model}/2 --key FILE" in told.text
        assert in_charge(house, model) == (1, ["Production", "None"])
    assert command(house, monkeypatch, "sign", f"{model}/2", "--key", ada) == 0
    assert door(house, model, monkeypatch, capsys).opened
    assert in_charge(house, model) != (1, ["Production", "None"])


@pytest.mark.parametrize("server", [True, False], ids=["at the server", "at the home"])
def test_a_signature_that_was_made_elsewhere_is_sent(
    house: House, tmp_path: Path, server: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"elsewhere{server}"
    furnish_signed(house, model, tmp_path, monkeypatch)
    (tmp_path / "model" / "weights").write_text(f"{model} 2")
    key = read_private((tmp_path / "ada.pem").read_bytes(), "ada.pem")
    (tmp_path / "model.sig").write_bytes(sign("model", trees.listing(tmp_path / "model"), key))
    files = tmp_path / "model.sig", tmp_path / "ada.pub"
    with pytest.raises(Refused, match="may"):
        registry(house, "rea", server=server).add_signature(model, 2, *files)
    with pytest.raises(Refused, match=r"is not of version 1 .*they differ in weights"):
        registry(house, "trainer", server=server).add_signature(model, 1, *files)
    with pytest.raises(NotFound, match="is no file"):
        registry(house, "trainer", server=server).add_signature(model, 2, tmp_path / "none.sig", files[1])
    kept = registry(house, "trainer", server=server).add_signature(model, 2, *files)
    assert kept.added_by == AUTHOR
    assert registry(house, "trainer", server=server).promote(model, 2).number == 2


def test_nothing_unsigned_is_deployed_and_readers_do_not_sign(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ada, _ = furnish_signed(house, "sent", tmp_path, monkeypatch)
    assert command(house, monkeypatch, "sign", "sent/2", "--key", ada, who="rea") == 3
    for words in (["--to", "eu"], ["--to", "eu", "--shadow"], ["--to", "eu", "--canary", "5%"]):
        capsys.readouterr()
        assert command(house, monkeypatch, "deploy", "sent/2", *words) == 3
        assert "boucle sign sent/2 --key FILE" in " ".join(capsys.readouterr().err.split())
    assert command(house, monkeypatch, "models", "policy", "show", "sent", "--json") == 0
    (fingerprint,) = json.loads(capsys.readouterr().out)["policy"]["require_signature"]
    assert command(house, monkeypatch, "models", "policy", "show", "sent") == 0
    assert f"signed by one of the keys {fingerprint[:12]}" in capsys.readouterr().out
    for loose in (["--reviews", "1"], ["--reviews", "1", "--require-signature", "0" * 64]):
        assert command(house, monkeypatch, "models", "policy", "set", "sent", *loose, who="root") == 3
        assert "it waits until other persons approve" in " ".join(capsys.readouterr().err.split())
    assert command(house, monkeypatch, "models", "policy", "set", "x", "--require-signature", "no.pub", who="root") == 2
    assert "named by the file of the public key, or by its fingerprint" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("number", range(len(NEVER_OPEN)), ids=list(NEVER_OPEN))
def test_a_door_around_the_gates_is_shut(
    house: House, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    door, model = list(NEVER_OPEN.values())[number], f"never{number}"
    furnish(house, model, tmp_path)
    told = door(house, model, monkeypatch, capsys)
    assert not told.opened
    assert "boucle " in told.text, "the next command"
    assert in_charge(house, model) == (1, ["Production", "None"])


FREE_TO_WRITERS: dict[str, Callable[[House, str, str], object]] = {
    "MLflow": lambda house, model, who: house.ask(
        "POST", "/api/2.0/mlflow/registered-models/alias", {"name": model, "alias": "free", "version": "2"}, who=who
    ),
    "native": lambda house, model, who: house.ask(
        "PUT", f"/api/v1/models/{model}/aliases/free", {"version": 2}, who=who
    ),
    "CLI": lambda _, model, __: run_command(["models", "promote", model, "2", "--alias", "free"]),
    "SDK at the server": lambda house, model, who: registry(house, who, server=True).promote(model, 2, "free"),
    "SDK at the home": lambda house, model, who: registry(house, who, server=False).promote(model, 2, "free"),
}


@pytest.mark.parametrize("door", FREE_TO_WRITERS)
def test_an_alias_that_no_policy_protects_is_moved_by_writers_only(
    house: House, tmp_path: Path, door: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"open to writers {list(FREE_TO_WRITERS).index(door)}".replace(" ", "_")
    furnish(house, model, tmp_path)
    monkeypatch.chdir(house.home.parent)

    def moved(who: str) -> bool:
        monkeypatch.setenv("BOUCLE_TOKEN", house.tokens[who])
        with suppress(Refused):
            FREE_TO_WRITERS[door](house, model, who)
        with Store.open(house.home) as store:
            return models.alias(store, "default", model, "free") is not None

    assert not moved("rea")
    assert not moved("grace")
    if door == "CLI":
        assert "only author or admin may write" in " ".join(capsys.readouterr().err.split())
    assert moved("trainer")


def test_the_native_protocol_tells_of_models(house: House, tmp_path: Path) -> None:
    furnish(house, "told", tmp_path)
    base = "/api/v1/models"
    listed = [one for one in house.ask("GET", base, who="rea")[1] if one["model"]["name"] == "told"]
    assert listed == [house.ask("GET", f"{base}/told", who="rea")[1]]
    assert listed[0]["aliases"] == {"champion": 1}
    assert [one["number"] for one in house.ask("GET", f"{base}/told/versions", who="rea")[1]] == [1, 2]
    assert house.ask("GET", f"{base}/told/policy", who="rea")[1]["policy"]["reviews"] == 1
    (move,) = house.ask("GET", f"{base}/told/aliases/champion", who="rea")[1]
    at = move["effective_at"].replace("+", "%2B")
    assert house.ask("GET", f"{base}/told/aliases/champion?at={at}", who="rea")[1]["version"] == 1
    for path, status in {
        "/told/aliases/champion?at=2013-07-15": 404,
        "/told/aliases/champion?at=soon": 400,
        "/told/versions/0": 400,
        "/told/versions/9": 404,
        "/told/versions/999999999999999999": 404,
        "/none/versions": 404,
        "/none/policy": 404,
        "/none/aliases/champion": 404,
    }.items():
        answer = house.ask("GET", base + path, who="rea")
        assert (answer[0], list(answer[1])) == (status, ["error"]), path
    assert house.ask("PUT", f"{base}/told/aliases/champion", {"version": 10**30})[0] == 404
    for body in ({}, {"version": "2"}, {"version": 2, "forse": True}, {"version": 2, "reason": "x" * 10_001}):
        status, told = house.ask("PUT", f"{base}/told/aliases/champion", body)
        assert status == 400
        assert "its fields are version, reason, instead_of" in told["error"]["message"]
    long = {"stage": "Staging", "reason": "x" * 10_001}
    assert house.ask("PUT", f"{base}/told/versions/2/stage", long)[0] == 400
    assert house.ask("GET", f"{base}/told/versions/2", who="rea")[1]["version"]["stage"] == "None"


def test_a_policy_from_set_to_gone_over_http(house: House) -> None:
    place = "/api/v1/models/gated/policy"
    policy = {"objectives": [{"metric": "auc", "at_least": 0.75}], "reviews": 1}
    status, told = house.ask("PUT", place, {"policy": policy}, who="root")
    assert (status, told["set_by"], told["changes"]) == (200, ADMIN, [])
    status, told = house.ask("PUT", place, {"policy": {"reviews": 1}, "reason": "too strict"}, who="root")
    change = told["error"]["details"]["change"]
    assert (status, told["error"]["hint"]) == (
        403,
        f"boucle models policy approve gated --change {change} --in default, by a reviewer, with BOUCLE_TOKEN; or set "
        "one that asks for these too",
    )
    assert house.ask("POST", f"{place}/reject", {"change": change}, who="grace")[1]["entered_at"] is None
    assert house.ask("POST", f"{place}/approve", {"change": change}, who="grace")[1]["entered_at"] is not None
    assert house.ask("DELETE", f"{place}?reason=over", who="root")[0] == 403
    assert house.ask("GET", place)[1]["changes"][0]["policy"] is None
    assert house.ask("POST", f"{place}/approve", who="grace")[0] == 200
    assert house.ask("GET", place)[0] == 404


@pytest.mark.parametrize("server", [True, False], ids=["at the server", "at the home"])
def test_the_sdk_tells_and_refuses_alike(house: House, tmp_path: Path, server: bool) -> None:
    model = f"sdk {server}, 1"  # a name that a path must spell otherwise
    furnish(house, model, tmp_path)
    with Store.open(house.home) as store:
        weaker = Policy(reviews=1, objectives=[Objective(metric="auc", at_least=0.75)])
        governance.set_policy(store, local_principal(), project_id="default", model=model, policy=weaker)
    mine = registry(house, "trainer", server=server)
    assert [one.number for one in mine.versions(model)] == [1, 2]
    standing = mine.standing(model, 2)
    assert standing.report is not None
    assert [one.gate for one in standing.report.verdicts if not one.passed] == ["objective(auc)", "reviews"]
    assert standing.next is not None
    assert f"boucle models waive '{model}' 2 'objective(auc)'" in standing.next
    (move,) = mine.history(model)
    assert mine.history(model, at=move.effective_at) == mine.history(model, at=move.effective_at.isoformat()) == 1
    refusals: list[tuple[type[boucle.BoucleError], str, Callable[[], object]]] = [
        (NotFound, "no version was `champion`", lambda: mine.history(model, at="2013-07-15")),
        (InvalidInput, "is no moment", lambda: mine.history(model, at="soon")),
        (NotFound, "nothing is called", lambda: mine.versions("../other")),
        (NotFound, "no version 9", lambda: mine.standing(model, 9)),
        (Conflict, "somebody moved it", lambda: mine.promote(model, 2, instead_of=7)),
        (GatesRefused, "auc was not reported", lambda: mine.promote(model, 2)),
        (Refused, "reviewer may review", lambda: mine.approve(model, 2)),
        (Refused, "author or admin may write", lambda: registry(house, "rea", server=server).promote(model, 2)),
        (Unauthenticated, "", lambda: boucle.Registry(**place(house, server), token="boucle_x").versions(model)),
    ]
    for kind, said, act in refusals:
        with pytest.raises(kind) as refused:
            act()
        assert type(refused.value) is kind
        assert said in refused.value.message
        assert refused.value.hint, said


def place(house: House, server: bool) -> dict[str, str]:
    return {"url": house.url} if server else {"home": str(house.home)}


def test_without_users_nobody_approves(tmp_path: Path) -> None:
    with Store.open(tmp_path / "home") as store:
        models.create_model(store, project_id="default", name="flights", author=AUTHOR)
    alone = boucle.Registry(home=tmp_path / "home")
    with pytest.raises(Refused, match="only a user who is reviewer may review") as refused:
        alone.approve("flights", 1)
    assert "boucle users add NAME --role reviewer" in str(refused.value.hint)
    assert alone.versions("flights") == []


def test_the_sdk_without_a_server_or_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NothingStored):
        boucle.Registry().versions("flights")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Unavailable, match="cannot be reached"):
        boucle.Registry(f"http://127.0.0.1:{free_port()}").versions("flights")


def test_the_commands_from_a_policy_to_its_history(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`boucle models` as persons give it, each with their own token."""
    furnish(house, "by_hand", tmp_path)
    monkeypatch.chdir(house.home.parent)

    def give(who: str, *words: str, code: int = 0) -> str:
        monkeypatch.setenv("BOUCLE_TOKEN", house.tokens[who])
        capsys.readouterr()
        assert run_command(["models", *words]) == code
        shown = capsys.readouterr()
        return " ".join((shown.out + shown.err).split())

    give("root", "policy", "set", "by_hand", "--objective", "auc>=0.75", "--reviews", "1")
    assert "auc >= 0.75 1 reviews" in give("rea", "policy", "show", "by_hand")
    shown = give("rea", "show", "by_hand", "2")
    assert "next: register a version that passes objective(auc); or let it pass, as a reviewer" in shown
    assert "boucle models show by_hand 2" in give("trainer", "promote", "by_hand", "2", code=3)
    give("grace", "waive", "by_hand", "2", "objective(auc)", "--reason", "first week", "--days", "1")
    assert "next: boucle models approve by_hand 2" in give("rea", "show", "by_hand", "2")
    give("trainer", "approve", "by_hand", "2", code=3)
    give("grace", "approve", "by_hand", "2", "--comment", "slices look fine")
    assert "next: boucle models promote by_hand 2" in give("rea", "show", "by_hand", "2")
    assert "champion of by_hand is version 2" in give("trainer", "promote", "by_hand", "2")
    assert "next:" not in give("rea", "show", "by_hand", "2")
    first, second = json.loads(give("rea", "history", "by_hand", "--json"))
    assert (first["number"], second["number"]) == (1, 2)
    for move in (first, second):
        told = json.loads(give("rea", "history", "by_hand", "--at", move["effective_at"], "--json"))
        assert told["version"] == move["number"]
    assert "waits" in give("root", "policy", "remove", "by_hand", code=3)
    assert "asked for by person:root" in give("rea", "policy", "show", "by_hand")
    give("root", "policy", "set", "by_hand", "--objective", "auc>=0.7", "--reviews", "1", "--reason", "slow", code=3)
    assert "2 changes of the policy of by_hand wait" in give("grace", "policy", "approve", "by_hand", code=2)
    shown = give("rea", "policy", "show", "by_hand")
    removal, weaker = re.findall(r"boucle models policy approve by_hand --change (\S+) --in default", shown)
    assert "the weaker version" in shown
    assert "(slow)" in shown
    told = give("grace", "policy", "reject", "by_hand", "--change", weaker)
    assert "waits until you approve it after all" in told
    told = give("grace", "policy", "approve", "by_hand", "--change", removal)
    assert "the removal of the policy of by_hand is in force" in told
    assert "there is no policy" in give("rea", "policy", "show", "by_hand", code=2)


@pytest.mark.parametrize("model", ["flight delays", "-dash", "it's"])
def test_a_printed_command_means_the_same_in_the_folder_of_another_project(
    house: House, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    furnish(house, model, tmp_path)
    (tmp_path / "boucle.yaml").write_text("project: another\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOUCLE_HOME", str(house.home))

    def give(who: str, command: str, code: int = 0) -> str:
        monkeypatch.setenv("BOUCLE_TOKEN", house.tokens[who])
        capsys.readouterr()
        assert run_command(shlex.split(command)[1:]) == code
        shown = capsys.readouterr()
        return shown.out + shown.err

    def following(answer: str) -> str:
        (command,) = re.findall(r"^next: (.*?)(?:, by a reviewer, with BOUCLE_TOKEN)?$", answer, re.MULTILINE)
        return str(command)

    promote = commands.about("promote", "default", model, 2)
    approve = following(give("trainer", promote, code=3))
    show = commands.about("show", "default", model, 2)
    assert following(give("rea", show)) == approve
    assert "approves version 2" in give("grace", approve)
    assert following(give("rea", show)) == promote
    assert f"champion of {model} is version 2" in give("trainer", promote)
    back = commands.about("promote", "default", model, 1, alias="")
    assert "alias name cannot be empty" in give("trainer", back, code=2)
