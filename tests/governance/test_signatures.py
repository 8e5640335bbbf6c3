"""Signatures of versions: which count, and that nothing moves or loads without the one that a policy asks for."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from boucle.governance import api
from boucle.governance.policies import of_project
from boucle.governance.records import Objective, Policy
from boucle.governance.signatures import required_signature, signers_of
from boucle.governance.strictness import dropped, strictest, weakens
from boucle.governance.tables import signatures
from boucle.identity.api import local_principal
from boucle.kernel import audit, trees
from boucle.kernel.care.turns import present_since
from boucle.kernel.errors import Damaged, GatesRefused, InvalidInput, Refused
from boucle.kernel.store import Store
from boucle.models.records import ModelVersion
from boucle.packaging.signing import PrivateKey, fingerprint, new_key, public_pem, sign

KEY, OTHER = new_key(), new_key()
ADA, EVE = (fingerprint(one.public_key()) for one in (KEY, OTHER))
WHO: dict[str, Any] = {"project_id": "flights", "model": "flights"}
BY = {**WHO, "actor": "person:ada"}
SIGNED = Policy(require_signature=[ADA])
Make = Callable[..., Any]


def signed(store: Store, version: ModelVersion, key: PrivateKey = KEY) -> bytes:
    return sign("flights", trees.entries(store.blobs, version.bundle_digest), key)


def add(store: Store, number: int, signature: bytes, key: PrivateKey = KEY) -> Any:
    return api.add_signature(store, **BY, number=number, signature=signature, key=pem(key))


def pem(key: PrivateKey) -> str:
    return public_pem(key.public_key()).decode()


@pytest.fixture
def two(store: Store, candidate: Make) -> list[ModelVersion]:
    """Two versions under a policy that asks for Ada's signature."""
    made = [candidate(name, 0.7).version for name in ("one", "two")]
    api.set_policy(store, local_principal(), **WHO, policy=SIGNED)
    return made


def test_a_signature_that_is_kept_keeps_nothing_else_from_collection(store: Store, two: list[ModelVersion]) -> None:
    store.blobs.close()
    add(store, 1, signed(store, two[0]))
    assert present_since(store.blobs.root) is None


def refusal(store: Store, number: int) -> GatesRefused:
    with pytest.raises(GatesRefused) as refused:
        api.set_alias(store, **BY, alias="champion", number=number)
    return refused.value


def test_an_allowed_signature_of_exactly_these_files_opens_the_door(store: Store, two: list[ModelVersion]) -> None:
    told = refusal(store, 1)
    assert f"no allowed key signed the files {two[0].bundle_digest[:12]}; allowed are {ADA[:12]}" in told.message
    assert told.hint == "boucle sign flights/1 --key FILE --in flights"
    kept = add(store, 1, signed(store, two[0]))
    assert add(store, 1, signed(store, two[0])) == kept, "the same again is the same"
    assert api.signatures_of(store, two[0]) == [kept]
    assert api.set_alias(store, **BY, alias="champion", number=1).number == 1
    assert refusal(store, 2).hint == "boucle sign flights/2 --key FILE --in flights", (
        "a signature is about a digest, not a name"
    )
    records = store.read(lambda conn: audit.records(conn, project_id="flights", subject="flights/1"))
    (told_of,) = [one for one in records if one.action == "version.sign"]
    assert told_of.details["key_fingerprint"] == ADA
    assert audit.verify(store).problems == []


def test_another_key_s_signature_is_kept_and_counts_for_nothing(store: Store, two: list[ModelVersion]) -> None:
    assert add(store, 1, signed(store, two[0], OTHER), OTHER).key_fingerprint == EVE
    assert refusal(store, 1).hint == "boucle sign flights/1 --key FILE --in flights"
    add(store, 1, signed(store, two[0]))
    assert [one.key_fingerprint for one in signers_of(store, "flights", two[0].bundle_digest, [ADA, EVE])] == sorted(
        [ADA, EVE]
    )


def test_what_is_no_signature_of_these_files_is_not_kept(store: Store, two: list[ModelVersion]) -> None:
    first, second = (signed(store, one) for one in two)
    with pytest.raises(Refused, match=r"is not of version 1 of flights.*they differ in boucle\.json"):
        add(store, 1, second)
    with pytest.raises(Refused, match="by no trusted key"):
        add(store, 1, first, OTHER)
    changed = json.loads(first)
    payload = base64.b64decode(changed["dsseEnvelope"]["payload"])
    changed["dsseEnvelope"]["payload"] = base64.b64encode(payload.replace(b"flights", b"flightz")).decode()
    with pytest.raises(Refused, match="by no trusted key"):
        add(store, 1, json.dumps(changed).encode())
    with pytest.raises(Refused, match="cannot be read"):
        add(store, 1, b"{}")
    assert api.signatures_of(store, two[0]) == []


def test_a_row_that_lies_counts_for_nothing(store: Store, two: list[ModelVersion]) -> None:
    """Written past the door: another digest's signature, another's key under an allowed name."""
    kept = add(store, 2, signed(store, two[1]))
    store.write(lambda conn: conn.execute(signatures.update().values(bundle_digest=two[0].bundle_digest)))
    refusal(store, 1)
    other = add(store, 2, signed(store, two[1], OTHER), OTHER)
    store.write(
        lambda conn: conn.execute(signatures.update().where(signatures.c.id == other.id).values(key_fingerprint=ADA))
    )
    refusal(store, 2)
    store.write(lambda conn: conn.execute(signatures.update().where(signatures.c.id == kept.id).values(key="none")))
    refusal(store, 1)


def test_a_changed_byte_of_a_kept_signature_is_told(store: Store, two: list[ModelVersion]) -> None:
    kept = add(store, 1, signed(store, two[0]))
    file = store.blobs.path(kept.statement_digest)
    file.chmod(0o600)
    file.write_bytes(file.read_bytes().replace(b"sig", b"gis"))
    with pytest.raises(Damaged, match="is damaged"):
        api.set_alias(store, **BY, alias="champion", number=1)


@pytest.mark.usefixtures("two")
def test_nobody_waives_it(store: Store) -> None:
    from boucle.identity.api import GRANTS, Principal

    grace = Principal("person:grace", "person", GRANTS["reviewer"], "reviewer")
    with pytest.raises(Refused, match="is never waived"):
        api.waive(store, grace, **WHO, number=1, gate="signature", reason="hurry")


def test_nothing_unsigned_is_to_be_loaded(store: Store, two: list[ModelVersion]) -> None:
    digest = two[0].bundle_digest
    with pytest.raises(Refused, match="must not be loaded") as refused:
        required_signature(store, "flights", "flights", 1, digest)
    assert refused.value.hint == "boucle sign flights/1 --key FILE --in flights"
    kept = add(store, 1, signed(store, two[0]))
    assert required_signature(store, "flights", "flights", 1, digest) == kept
    assert required_signature(store, "flights", "free", 1, digest) is None


@pytest.mark.usefixtures("two")
def test_what_a_weaker_policy_no_longer_asks_for_is_named(store: Store) -> None:
    strict = Policy(
        objectives=[Objective(metric="auc", at_least=0.8)], reviews=1, aliases=["champion", "live"], measured=True
    )
    signed_only = Policy(require_signature=[ADA])
    assert dropped(signed_only, strict) == ["auc >= 0.8", "1 reviews", "the alias live", "what Boucle itself measured"]
    assert dropped(Policy(parity_tolerance=1.0, stages=[]), SIGNED)[:2] == [
        "parity within 1e-09",
        "the stage Production",
    ]
    assert dropped(strictest(signed_only, strict), strict) == []
    change = api.set_policy(store, local_principal(), **WHO, policy=Policy(reviews=1))
    with pytest.raises(Refused, match=r"it no longer asks for a signature by .*, so it waits") as refused:
        api.refuse_waiting(store, change)
    assert "or set one that asks for these too" in str(refused.value.hint)


@pytest.mark.usefixtures("two")
def test_loosening_it_waits_for_approvals(store: Store) -> None:
    for weaker in (None, Policy(), Policy(require_signature=[ADA, EVE]), Policy(require_signature=[EVE])):
        assert api.set_policy(store, local_principal(), **WHO, policy=weaker) is not None
    found = api.policy_on(store, "flights", "flights")
    assert found is not None
    assert found.policy == SIGNED
    assert of_project(found, Policy()) == SIGNED, "nor does the project's file"


def test_what_is_stricter() -> None:
    both = Policy(require_signature=[ADA, EVE])
    assert strictest(both, SIGNED).require_signature == [ADA]
    assert strictest(Policy(), SIGNED).require_signature == [ADA]
    assert strictest(Policy(require_signature=[EVE]), SIGNED).require_signature == []
    assert (weakens(SIGNED, both), weakens(both, SIGNED), weakens(SIGNED, Policy())) == (False, True, False)
    assert Policy().require_signature is UNSET


def test_a_policy_names_keys_by_fingerprints(store: Store) -> None:
    for wrong, message in (([], "by one of no keys"), (["ada"], "is no fingerprint")):
        with pytest.raises(InvalidInput, match=message):
            api.set_policy(store, local_principal(), **WHO, policy=Policy(require_signature=wrong))


def test_the_same_signature_again_is_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "boucle.json").write_bytes(b"{}")
    files = trees.listing(tmp_path)
    assert sign("churn", files, KEY) == sign("churn", files, KEY)
