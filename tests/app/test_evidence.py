"""`boucle models evidence`, `verify` and `package` on a real project: what is said goes with the bundle."""

import json
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from boucle.app.main import run_command
from boucle.packaging.signing import new_key, private_pem, public_pem

pytestmark = pytest.mark.slow

YAML = """\
project: orders
data: {source: orders.parquet, target: late, features: {numeric: [x, z]}}
objectives: [{metric: auc_roc, at_least: 0.6}]
training:
  params: {max_iter: 10, min_samples_leaf: 5}
  search: {trials: 1}
  cross_validation: {folds: 2, order: shuffled}
evaluation: {bootstrap: 20}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a version in charge, and a key beside it."""
    folder = tmp_path_factory.mktemp("orders")
    draw = np.random.default_rng(1)
    x, z = draw.normal(size=600), draw.normal(size=600)
    late = (draw.random(600) < 1 / (1 + np.exp(-2 * x))).astype(int)
    pl.DataFrame({"x": x, "z": z, "late": late}).write_parquet(folder / "orders.parquet")
    (folder / "boucle.yaml").write_text(YAML)
    key = new_key()
    (folder / "ada.pem").write_bytes(private_pem(key))
    (folder / "ada.pub").write_bytes(public_pem(key.public_key()))
    assert run_command(["run", "--project", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Path:
    monkeypatch.chdir(made)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    capsys.readouterr()
    return made


def told(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


@pytest.mark.usefixtures("folder")
def test_evidence_is_shown_written_and_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["models", "evidence", "orders@champion"]) == 0
    shown = told(capsys)
    assert "https://boucle.dev/attestations/training-data/v1" in shown
    assert "signature MISSING nobody has said: description, intended_use" in shown
    out = tmp_path / "out"
    assert run_command(["models", "evidence", "orders/1", "--to", str(tmp_path / "unsigned")]) == 0
    assert "not signed: there is no key nobody signed the bundle: boucle sign" in told(capsys)
    assert run_command(["sign", "orders/1", "--key", "ada.pem"]) == 0
    assert run_command(["models", "evidence", "orders/1", "--to", str(out), "--key", "ada.pem"]) == 0
    assert "signed by the key" in told(capsys)
    assert run_command(["models", "evidence", "orders/1", "--to", str(out), "--key", "ada.pem"]) == 2
    assert "is not empty" in told(capsys)
    verify = ["verify", str(out / "orders"), "--key", "ada.pub"]
    assert run_command([*verify, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    names = ["card", "evaluation", "ml-bom", "parity", "reviews", "training-data"]
    assert sorted(facts["evidence"]) == names
    assert {one["signed_by"] for one in facts["evidence"].values()} == {facts["key"]}
    assert run_command(verify) == 0
    assert "card: said by the key" in told(capsys)
    plain = tmp_path / "unsigned" / "orders.evidence" / "evaluation.json"
    (out / "orders.evidence" / "evaluation.json").write_bytes(plain.read_bytes())
    assert run_command(verify) == 0
    assert "evaluation: not signed" in told(capsys)
    plain.write_text(
        plain.read_text().replace(facts["files"]["boucle.json"][:8], "0" * 8).replace('"sha256": "', '"sha256": "0')
    )
    (out / "orders.evidence" / "evaluation.json").write_bytes(plain.read_bytes())
    assert run_command(verify) == 3
    assert "evaluation.json' is about" in told(capsys)


@pytest.mark.usefixtures("folder")
def test_a_package_takes_it_along(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["sign", "orders/1", "--key", "ada.pem"]) == 0
    wheels = []
    for name in ("first", "second"):
        capsys.readouterr()
        assert run_command(["package", "--wheel", str(tmp_path / name), "--key", "ada.pem", "--json"]) == 0
        wheels.append(Path(json.loads(capsys.readouterr().out)["path"]))
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(tmp_path / "site")
    bundle = tmp_path / "site" / "orders" / "bundle"
    assert run_command(["verify", str(bundle), "--key", "ada.pub"]) == 0
    image = tmp_path / "image"
    assert run_command(["package", "--image", str(image)]) == 0
    assert run_command(["verify", str(image / "model" / "orders"), "--key", "ada.pub"]) == 0
    file = (image / "Dockerfile").read_text()
    for name in ("orders", "orders.sig", "orders.evidence"):
        assert f'COPY ["model/{name}", "/opt/ml/model/{name}"]\n' in file
    again, evidence = tmp_path / "again", Path("model", "orders.evidence", "card.md")
    assert run_command(["package", str(image / "model" / "orders"), "--image", str(again)]) == 0
    assert (again / evidence).read_bytes() == (image / evidence).read_bytes()
