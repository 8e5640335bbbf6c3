"""What lies beside a bundle: attestations about its digest, from records alone, in forms that others read."""

import base64
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from boucle.data.api import snapshot
from boucle.evaluation.records import Evaluation, Metric, Slice
from boucle.governance import api
from boucle.governance.claims.beside import beside
from boucle.governance.claims.said import EVERY, claims_of
from boucle.governance.records import Policy
from boucle.identity.api import GRANTS, Principal, local_principal
from boucle.kernel import trees
from boucle.kernel.digests import Digest, canonical_json
from boucle.kernel.errors import Refused
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.models.records import ModelVersion
from boucle.packaging.beside import READABLE, read_evidence
from boucle.packaging.signing import fingerprint, new_key, public_pem, sign
from boucle.packaging.statements import Claim, attest, read_attestation
from boucle.packaging.trust import lying_beside

KEY, OTHER = new_key(), new_key()
PEM = public_pem(KEY.public_key()).decode()
WHO: dict[str, Any] = {"project_id": "flights", "model": "flights"}
DIGEST = Digest("ab" * 32)
Make = Callable[..., Any]


@pytest.fixture
def version(store: Store, candidate: Make) -> ModelVersion:
    """A version with data, evaluation, a policy, a review, a permit, a signature, and one human statement."""
    bundle = candidate("one", 0.7).version.bundle_digest
    table = pl.DataFrame({"temp": [70.5, None, 81.0], "carrier": ["AA", "B6", "AA"]})
    dataset = snapshot(store, table, project_id="flights", time=None)
    metric = Metric(value=0.7, low=0.68, high=0.72)
    evaluation = Evaluation(
        bundle_digest=bundle,
        dataset_digest=store.blobs.put(b"later rows"),
        rows=7000,
        positives=1500,
        metrics={"auc_roc": metric},
        slices=[Slice(column="carrier", value="A|A", rows=40, name="auc_roc", metric=metric)],
    )
    made = models.register(
        store,
        **WHO,
        bundle_digest=bundle,
        dataset_digest=dataset.digest,
        evaluation_digest=store.blobs.put(canonical_json(evaluation)),
        run_id="run_1",
        author="service:loop",
        note="first training",
    )
    models.tag_model(store, "flights", "flights", "card.limitations", "Knows no strike.", actor="person:ada")
    api.set_policy(store, local_principal(), **WHO, policy=Policy(reviews=1))
    grace = Principal("person:grace", "person", GRANTS["reviewer"], "reviewer")
    api.review_version(store, grace, **WHO, number=made.number, verdict="approve", comment="slices look fine")
    api.set_alias(store, **WHO, alias="champion", number=made.number, actor="person:ada")
    signature = sign("flights", trees.entries(store.blobs, bundle), KEY)
    api.add_signature(store, **WHO, number=made.number, signature=signature, key=PEM, actor="person:ada")
    return made


def laid(store: Store, version: ModelVersion, folder: Path, *, signed: bool = True) -> Path:
    """The bundle, and what goes beside it."""
    trees.materialise(store.blobs, version.bundle_digest, folder / "flights")
    for suffix, data in beside(store, version, "flights", KEY if signed else None).items():
        file = folder / f"flights{suffix}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    return folder / "flights"


def test_everything_is_said_and_names_the_digest(store: Store, version: ModelVersion, tmp_path: Path) -> None:
    folder = laid(store, version, tmp_path)
    found = read_evidence(folder, version.bundle_digest, [PEM])
    assert tuple(sorted(found)) == tuple(sorted(EVERY))
    assert {one.signed_by for one in found.values()} == {fingerprint(KEY.public_key())}
    said = {name: one.claim.said for name, one in found.items()}
    assert said["training-data"]["dataset"]["rows"] == 3
    assert said["training-data"]["dataset"]["columns"] == [
        {"name": "temp", "kind": "float", "nullable": True, "nulls": 1, "minimum": 70.5, "maximum": 81.0},
        {"name": "carrier", "kind": "text", "nullable": False, "nulls": 0, "distinct": 2},
    ]
    assert (said["evaluation"]["origin"], said["evaluation"]["metrics"]["auc_roc"]["value"]) == ("measured", 0.7)
    assert said["evaluation"]["digest"] == version.evaluation_digest
    assert said["parity"]["label_flips"] == 0
    assert [one["reviewer"] for one in said["reviews"]["reviews"]] == ["person:grace"]
    assert [one["alias"] for one in said["reviews"]["permits"]] == ["champion"]
    assert said["reviews"]["report"]["passed"]
    assert [one["key"] for one in said["reviews"]["signatures"]] == [fingerprint(KEY.public_key())]
    assert said["reviews"]["audit"]["sequence"] > 1


def test_the_card_says_what_nobody_said(store: Store, version: ModelVersion) -> None:
    card = claims_of(store, version)["card"].said
    assert card["statements"]["limitations"] == "Knows no strike."
    assert card["missing"] == ["description", "intended_use", "out_of_scope", "ethical_considerations", "owner"]
    text = card["markdown"]
    assert "## Intended use\n\nMISSING\n" in text
    assert "## Limitations\n\nKnows no strike.\n" in text
    assert "| auc_roc | 0.7 | 0.68 to 0.72 |" in text
    assert r"| carrier = A\|A | 40 | auc_roc | 0.7 |" in text
    assert "person:grace approves it, 2013-03-01: slices look fine" in text


def test_asking_again_gives_the_same_bytes(store: Store, version: ModelVersion) -> None:
    assert beside(store, version, "flights", KEY) == beside(store, version, "flights", KEY)


def test_the_bill_of_materials_is_cyclonedx(store: Store, version: ModelVersion) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a library of the judge
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator

        bill = json.dumps(claims_of(store, version)["ml-bom"].said)
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    read = json.loads(bill)
    model = read["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "flights", "2")
    assert model["hashes"][0]["content"] == version.bundle_digest
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0] == {
        "type": "auc_roc",
        "value": "0.7",
        "confidenceInterval": {"lowerBound": "0.68", "upperBound": "0.72"},
    }
    assert [one["type"] for one in read["components"]] == ["data", "data", "library"]
    refs = {one["bom-ref"] for one in read["components"]}
    assert set(read["dependencies"][0]["dependsOn"]) == refs == {one["ref"] for one in read["dependencies"][1:]}
    assert {one["ref"] for one in model["modelCard"]["modelParameters"]["datasets"]} <= refs


def test_without_a_key_it_says_that_it_is_not_signed(store: Store, version: ModelVersion, tmp_path: Path) -> None:
    folder = laid(store, version, tmp_path, signed=False)
    assert {one.signed_by for one in read_evidence(folder, version.bundle_digest, [PEM]).values()} == {None}
    bare = json.loads((tmp_path / "flights.evidence" / "card.json").read_text())
    assert bare["subject"] == [{"name": "flights", "digest": {"sha256": version.bundle_digest}}]


def test_a_client_s_version_says_what_there_is(store: Store, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("w")
    models.create_model(store, project_id="flights", name="other", author="person:ada")
    foreign = models.create_version(
        store,
        project_id="flights",
        model="other",
        bundle_digest=trees.freeze(store.blobs, tmp_path / "model"),
        author="person:ada",
        source=None,
    )
    claims = claims_of(store, foreign)
    assert sorted(claims) == ["card", "ml-bom", "reviews"]
    assert claims["card"].said["markdown"].count("MISSING") >= 8


PLANTED: dict[str, Callable[[Path], object]] = {
    "about another digest": lambda file: file.write_bytes(attest(Claim("t", {}), "flights", DIGEST, KEY)),
    "about another digest, not signed": lambda file: file.write_bytes(attest(Claim("t", {}), "flights", DIGEST, None)),
    "by another key": lambda file: file.write_bytes(
        attest(Claim("t", {}), "flights", Digest(json.loads(_payload(file))["subject"][0]["digest"]["sha256"]), OTHER)
    ),
    "a changed byte": lambda file: file.write_text(file.read_text().replace('"payload": "eyJ', '"payload": "eyK')),
    "another statement under the signature": lambda file: file.write_text(
        json.dumps(json.loads(file.read_text()) | {"payload": base64.b64encode(b"{}").decode()})
    ),
    "an envelope without signatures": lambda file: file.write_text(
        json.dumps(json.loads(file.read_text()) | {"signatures": []})
    ),
    "no JSON": lambda file: file.write_bytes(b"\xff"),
    "the readable card changed": lambda file: file.with_name("card.md").write_text("# All is fine"),
    "the readable bill changed": lambda file: file.with_name("ml-bom.cdx.json").write_text("{}"),
    "a readable card without the attested one": lambda file: file.with_name("card.json").unlink(),
}


def _payload(file: Path) -> bytes:
    return base64.b64decode(json.loads(file.read_text())["payload"])


@pytest.mark.parametrize("planted", PLANTED)
def test_what_was_planted_is_refused(store: Store, version: ModelVersion, tmp_path: Path, planted: str) -> None:
    folder = laid(store, version, tmp_path)
    PLANTED[planted](tmp_path / "flights.evidence" / "evaluation.json")
    with pytest.raises(Refused) as refused:
        read_evidence(folder, version.bundle_digest, [PEM])
    assert "flights.evidence" in refused.value.message


def test_an_envelope_is_read_with_any_of_several_signatures() -> None:
    data = json.loads(attest(Claim("t", {"a": 1}), "it", DIGEST, KEY))
    data["signatures"].insert(0, json.loads(attest(Claim("t", {"a": 1}), "it", DIGEST, OTHER))["signatures"][0])
    read = read_attestation(json.dumps(data).encode(), DIGEST, [KEY.public_key()], "it")
    assert (read.claim, read.signed_by) == (Claim("t", {"a": 1}), fingerprint(KEY.public_key()))


def test_what_lies_beside_a_folder_goes_with_it(store: Store, version: ModelVersion, tmp_path: Path) -> None:
    found = lying_beside(laid(store, version, tmp_path))
    assert set(found) == {".sig", *(f".evidence/{name}" for name in [*READABLE, *(f"{one}.json" for one in EVERY)])}
    assert lying_beside(tmp_path / "none") == {}


def test_securesystemslib_verifies_what_is_attested() -> None:
    """The library of in-toto and TUF as the judge: its keys, its envelopes."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    data = json.loads(attest(Claim("t", {"a": 1}), "it", DIGEST, KEY))
    envelope = Envelope.from_dict(data)
    for key, counts in ((KEY, True), (OTHER, False)):
        public = SSlibKey.from_crypto(key.public_key(), keyid=fingerprint(KEY.public_key()))
        if counts:
            assert list(envelope.verify([public], 1)) == [fingerprint(KEY.public_key())]
        else:
            with pytest.raises(VerificationError):
                envelope.verify([public], 1)
