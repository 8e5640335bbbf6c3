"""What a policy asks a signature for is deployed and loaded only with it: the same bytes that were signed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boucle.app.store_watch import StoreWatch
from boucle.governance import api as governance
from boucle.governance.records import Policy
from boucle.identity.api import local_principal
from boucle.kernel import trees
from boucle.kernel.care.layout import kind_of
from boucle.kernel.errors import NotFound, Refused
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.packaging.signing import PrivateKey, fingerprint, new_key, public_pem, sign
from boucle.serving.care import collectable
from boucle.serving.deploy import guard
from boucle.serving.models import Models
from boucle.serving.records import Deployment, Traffic
from boucle.serving.traffic import read_traffic, serving_root, signature_of

KEY, OTHER = new_key(), new_key()
WHO: dict[str, Any] = {"project_id": "flights", "model": "flights"}
Deploy = Callable[..., Traffic]


def require(store: Store, model: str = "flights") -> None:
    policy = Policy(require_signature=[fingerprint(KEY.public_key())])
    governance.set_policy(store, local_principal(), project_id="flights", model=model, policy=policy)


def signature(store: Store, key: PrivateKey = KEY, number: int = 1) -> bytes:
    version = models.get_version(store, "flights", "flights", number)
    return sign("flights", trees.entries(store.blobs, version.bundle_digest), key)


def add(store: Store) -> None:
    key = public_pem(KEY.public_key()).decode()
    governance.add_signature(store, **WHO, number=1, signature=signature(store), key=key, actor="person:ada")


def load(store: Store, deployment: Deployment) -> object:
    opened = Models(serving_root(store.home))
    return opened.load(opened.of(deployment))


@pytest.fixture
def registered(store: Store, deployer: Deploy) -> Store:
    models.create_model(store, project_id="flights", name="flights", author="person:ada")
    for lift in (0.0, 1.0):
        digest = deployer.keep(lift)  # type: ignore[attr-defined]
        models.create_version(store, **WHO, bundle_digest=digest, author="person:ada", source=None)
    return store


def test_an_unsigned_version_is_not_deployed(registered: Store, deployer: Deploy) -> None:
    require(registered)
    with pytest.raises(Refused, match="no allowed key signed") as refused:
        deployer(1)
    assert refused.value.hint == "boucle sign flights/1 --key FILE --in flights"
    add(registered)
    champion = deployer(1).champion
    assert champion.signer == public_pem(KEY.public_key()).decode()
    assert load(registered, champion) is not None


def test_a_server_that_starts_asks_for_what_policies_ask_by_now(registered: Store, deployer: Deploy) -> None:
    before = deployer(1)
    assert before.champion.signer is None
    assert guard(registered, "flights", "flights") == before
    require(registered)
    with pytest.raises(Refused, match="must not be loaded"):
        guard(registered, "flights", "flights")
    add(registered)
    after = guard(registered, "flights", "flights")
    assert (after.champion.signer, after.generation, after.before) == (
        public_pem(KEY.public_key()).decode(),
        before.generation + 1,
        [],
    )


def deployed(store: Store, deployer: Deploy) -> tuple[Deployment, Path]:
    """What is deployed with its signature, and where that lies."""
    require(store)
    add(store)
    champion = deployer(1).champion
    place = signature_of(serving_root(store.home), champion)
    assert place is not None
    return champion, place


@pytest.mark.parametrize("planted", ["another key's", "of another bundle", "a changed byte", "empty"])
def test_another_signature_beside_it_loads_nothing(registered: Store, deployer: Deploy, planted: str) -> None:
    champion, place = deployed(registered, deployer)
    data = place.read_bytes()
    place.write_bytes(
        {
            "another key's": signature(registered, OTHER),
            "of another bundle": signature(registered, number=2),
            "a changed byte": data.replace(b'"payload":"eyJ', b'"payload":"eyK'),
            "empty": b"",
        }[planted]
    )
    with pytest.raises(Refused, match=r"signed|signature"):
        load(registered, champion)


def test_a_lost_signature_loads_nothing_until_it_is_deployed_again(registered: Store, deployer: Deploy) -> None:
    champion, place = deployed(registered, deployer)
    place.unlink()
    with pytest.raises(NotFound, match="is not signed"):
        load(registered, champion)
    assert deployer(1).champion == champion
    assert load(registered, champion) is not None


def test_gc_knows_what_a_signature_belongs_to(registered: Store, deployer: Deploy) -> None:
    champion, place = deployed(registered, deployer)
    assert kind_of(place.relative_to(registered.home).as_posix()) is not None
    found = [
        one.path.name for one in collectable(registered.home, lambda _: True, lambda _: False, 0.0) if one is not None
    ]
    assert place.name not in found
    other = place.with_name("0" * 64 + ".".join(["", "1" * 64, "sig"]))
    other.write_bytes(b"")
    found = [
        one.path.name for one in collectable(registered.home, lambda _: True, lambda _: False, 0.0) if one is not None
    ]
    assert found == [other.name]
    assert champion.path.rpartition("/")[2] == place.name[:64]


def test_a_running_server_says_once_that_its_champion_lacks_a_signature(
    registered: Store, deployer: Deploy, caplog: pytest.LogCaptureFixture
) -> None:
    watch = StoreWatch(registered.home, "flights")
    governance.set_alias(registered, **WHO, alias="champion", number=1, actor="person:ada")
    deployer(1)
    require(registered)
    for _ in range(3):
        watch._look_at_champion()
    assert caplog.text.count("must not be loaded") == 1
    assert watch._head == (registered.home / "audit-head.json").read_bytes(), (
        "it is not asked again until something is new"
    )
    add(registered)
    watch._look_at_champion()
    assert read_traffic(registered.home, "flights").champion.signer is not None


def test_who_took_charge_while_a_server_started_answers(registered: Store, deployer: Deploy) -> None:
    deployer(2, lift=1.0)
    governance.set_alias(registered, **WHO, alias="champion", number=1, actor="person:ada")
    StoreWatch(registered.home, "flights")._look_at_champion()
    assert read_traffic(registered.home, "flights").champion.number == 1
