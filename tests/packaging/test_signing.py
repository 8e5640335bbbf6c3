"""Signatures of bundles. The package `model-signing` judges them in test_model_signing.py."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from boucle.app.main import run_command
from boucle.kernel.errors import InvalidInput, NotFound, Refused
from boucle.kernel.trees import listing
from boucle.packaging.api import open_bundle, package
from boucle.packaging.records import PackagingSection
from boucle.packaging.signing import fingerprint, new_key, public_pem, read_private, read_public, sign, verified
from boucle.packaging.trust import Trust, refuse_changed, signature_file, signed_by
from boucle.serving.folders import take_in
from boucle.training.records import Fitted

KEY = new_key()
TRUST = Trust(keys=[public_pem(KEY.public_key()).decode()])


@pytest.fixture
def folder(fitted: Fitted, held_out: pl.DataFrame, tmp_path: Path) -> Path:
    made = tmp_path / "churn"
    package(fitted, held_out, made, PackagingSection(), key=None, time=None)
    signature_file(made).write_bytes(sign("churn", listing(made), KEY))
    return made


def test_a_signed_bundle_opens_and_its_digest_stays(folder: Path) -> None:
    assert open_bundle(folder, TRUST).signature.task == "binary"
    signed = signed_by(folder, TRUST.keys)
    refuse_changed(folder, signed)
    assert (signed.key, len(signed.files)) == (fingerprint(KEY.public_key()), 8)
    assert folder.with_name("churn.sig").exists()


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda one: one.name)
def test_every_curve_signs(curve: ec.EllipticCurve, folder: Path) -> None:
    key = ec.generate_private_key(curve)
    data = sign("churn", listing(folder), key)
    assert verified(data, [KEY.public_key(), key.public_key()], "it").key == fingerprint(key.public_key())


@pytest.mark.parametrize("name", ["boucle.json", "model.onnx"])
def test_what_is_parsed_is_what_was_signed(folder: Path, name: str) -> None:
    """Also where whoever changed a file made the manifest fit."""
    file = folder / name
    file.write_bytes(file.read_bytes().replace(b'"threshold": 0.4', b'"threshold": 0.9'))
    if name == "model.onnx":
        from boucle.kernel.digests import digest_file

        manifest = json.loads((folder / "boucle.json").read_text())
        file.write_bytes(file.read_bytes() + b"\0")
        manifest["files"][name] = digest_file(file)
        (folder / "boucle.json").write_text(json.dumps(manifest))
    with pytest.raises(Refused, match="is not what was signed"):
        open_bundle(folder, TRUST)
    open_bundle(folder) if name == "boucle.json" else None  # nothing else would have told


def test_missing_added_and_changed_files_are_named(folder: Path) -> None:
    signed = signed_by(folder, TRUST.keys)
    (folder / "conda.yaml").unlink()
    (folder / "more.txt").write_text("x")
    (folder / "MLmodel").write_text("x")
    with pytest.raises(Refused, match=r"MLmodel was changed, conda\.yaml is missing, more\.txt was added"):
        refuse_changed(folder, signed)


def test_another_key_counts_for_nothing(folder: Path) -> None:
    other = new_key()
    signature_file(folder).write_bytes(sign("churn", listing(folder), other))
    with pytest.raises(Refused, match=f"by no trusted key; it names the key {fingerprint(other.public_key())[:12]}"):
        open_bundle(folder, TRUST)
    signature_file(folder).unlink()
    with pytest.raises(NotFound, match="is not signed"):
        open_bundle(folder, TRUST)


def test_a_server_takes_in_only_what_a_trusted_key_signed(folder: Path, tmp_path: Path) -> None:
    assert take_in(tmp_path / "home", [folder], TRUST) == ["churn"]
    (folder / "more.txt").write_text("x")
    with pytest.raises(Refused, match=r"more\.txt was added"):
        take_in(tmp_path / "other", [folder], TRUST)
    assert not (tmp_path / "other").exists()


def change(data: bytes, edit: Callable[[dict[str, Any]], object]) -> bytes:
    """A signature whose payload was edited, the rest left."""
    read = json.loads(data)
    payload = json.loads(base64.b64decode(read["dsseEnvelope"]["payload"]))
    edit(payload)
    read["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    return json.dumps(read).encode()


def test_what_was_signed_cannot_be_edited(folder: Path) -> None:
    data = signature_file(folder).read_bytes()
    for edit in (lambda one: one["predicate"]["resources"].pop(), lambda one: one["subject"].clear(), lambda _: None):
        with pytest.raises(Refused, match="by no trusted key"):
            verified(change(data, edit), [KEY.public_key()], "it")


@given(
    st.binary(max_size=300) | st.recursive(st.none() | st.text(), st.lists).map(lambda one: json.dumps(one).encode())
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        verified(data, [KEY.public_key()], "it")


def test_keys_of_another_kind_are_refused() -> None:
    other = rsa.generate_private_key(65537, 2048)
    private = other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = other.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for read, data in ((read_private, private), (read_public, public)):
        with pytest.raises(InvalidInput, match="allowed are P-256"):
            read(data, "'k'")
        with pytest.raises(InvalidInput, match="in PEM"):
            read(b"x", "'k'")
    locked = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"p")
    )
    with pytest.raises(InvalidInput, match="is encrypted"):
        read_private(locked, "'k'")


def test_the_commands_make_a_key_sign_and_verify(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert run_command(["verify", str(folder)]) == 2
    assert "boucle sign FOLDER makes one" in capsys.readouterr().err
    assert run_command(["sign", str(folder)]) == 0
    assert "made a key of your own" in capsys.readouterr().out
    keys = tmp_path / "config" / "boucle"
    places = keys / "signing.pem", keys / "signing.pub", folder.with_name(f"{folder.name}.sig")
    assert [place.stat().st_mode & 0o777 & ~0o022 for place in places] == [0o600, 0o644, 0o644]
    assert run_command(["verify", str(folder), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == 8
    (folder / "more.txt").write_text("x")
    assert run_command(["verify", str(folder)]) == 3
    assert "more.txt was added" in capsys.readouterr().err


def test_a_store_is_not_served_by_signatures(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["serve", "--signed-by", "ada.pub"]) == 2
    assert "--signed-by is for bundle folders" in capsys.readouterr().err


def test_an_mlflow_model_is_signed_as_well_and_a_folder_that_is_none_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "model").mkdir()
    assert run_command(["sign", str(tmp_path / "model")]) == 2
    assert "is no bundle" in capsys.readouterr().err
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}")
    assert run_command(["sign", str(tmp_path / "model")]) == 0
    assert run_command(["verify", str(tmp_path / "model")]) == 0
