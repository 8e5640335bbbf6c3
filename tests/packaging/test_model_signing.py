"""OpenSSF's own `model_signing` verifies what `boucle sign` signs, and signs what `boucle verify` verifies."""

import subprocess
from pathlib import Path

import polars as pl
import pytest

from boucle.app.main import run_command
from boucle.packaging.api import package
from boucle.packaging.records import PackagingSection
from boucle.packaging.signing import new_key, private_pem, public_pem
from boucle.training.records import Fitted

pytestmark = pytest.mark.long

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def program() -> Path:
    subprocess.run([HERE / "install-model-signing"], check=True)
    return HERE.parents[1] / "build" / "model-signing" / "bin" / "python"


@pytest.fixture
def folder(fitted: Fitted, held_out: pl.DataFrame, tmp_path: Path) -> Path:
    package(fitted, held_out, tmp_path / "churn", PackagingSection(), key=None, time=None)
    key = new_key()
    (tmp_path / "key.pem").write_bytes(private_pem(key))
    (tmp_path / "key.pub").write_bytes(public_pem(key.public_key()))
    return tmp_path / "churn"


def judge(program: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [program, "-m", "model_signing", words[0], "key", folder, "--signature", f"{folder}.sig", *words[1:]]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, check=False)


def test_model_signing_verifies_what_boucle_signs(program: Path, folder: Path) -> None:
    assert run_command(["sign", str(folder), "--key", str(folder.parent / "key.pem")]) == 0
    done = judge(program, folder, "verify", "--public_key", "key.pub")
    assert done.returncode == 0, done.stderr
    (folder / "boucle.json").write_bytes(b"{}")
    assert judge(program, folder, "verify", "--public_key", "key.pub").returncode != 0


def test_boucle_verifies_what_model_signing_signs(program: Path, folder: Path) -> None:
    done = judge(program, folder, "sign", "--private_key", "key.pem")
    assert done.returncode == 0, done.stderr
    words = ["verify", str(folder), "--key", str(folder.parent / "key.pub")]
    assert run_command(words) == 0
    (folder / "boucle.json").write_bytes(b"{}")
    assert run_command(words) == 3
