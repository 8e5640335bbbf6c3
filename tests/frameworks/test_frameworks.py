"""Networks of PyTorch, Keras and TensorFlow become bundles where those are, and are served where none of them is."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tritonclient import http as triton

from boucle.kernel.errors import Refused, Unavailable
from boucle.kernel.ports import free_port
from boucle.kernel.trees import listing
from boucle.packaging.api import open_bundle, read_manifest
from boucle.packaging.signing import new_key, public_pem, sign
from boucle.packaging.trust import Trust, signature_file

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def make(kind: str, program: str, folder: Path, **environment: str) -> Path:
    subprocess.run([HERE / "install-frameworks", kind], check=True)
    python = ROOT / "build" / kind / "bin" / "python"
    told = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    folder.mkdir()
    done = subprocess.run([python, HERE / program, folder], env=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("frameworks")
    return {
        "torch": make("torch", "torch_models.py", folder / "torch"),
        "keras on torch": make("torch", "keras_models.py", folder / "keras", KERAS_BACKEND="torch"),
        "tensorflow": make("tensorflow", "keras_models.py", folder / "tensorflow"),
    }


def expected(folder: Path) -> tuple[Any, Any]:
    found = np.load(folder / "expected.npz")
    return found["rows"], found["values"].astype(np.float64)


def scores_of(signature: Any, values: Any) -> Any:
    """What the framework answered, as the bundle names it: probabilities of logits too."""
    if signature.task == "regression":
        return values.reshape(len(values), -1)
    if values.shape[1] == 1:
        return values
    if values.min() < 0:
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values = values / values.sum(axis=1, keepdims=True)
    return values[:, 1:] if signature.task == "binary" else values


def test_what_was_made_without_it_answers_as_the_framework_does(made: dict[str, Path]) -> None:
    for name in ("torch", "keras", "tensorflow"):
        assert importlib.util.find_spec(name) is None
    seen = 0
    for kind, folder in made.items():
        for case in sorted(one.parent for one in folder.glob("*/expected.npz")):
            predictor, (rows, values) = open_bundle(case / "bundle"), expected(case)
            inputs = predictor.signature.inputs
            columns = {one.name: rows[:, at] for at, one in enumerate(inputs)} if len(inputs) > 1 else {
                inputs[0].name: rows
            }  # fmt: skip
            answers = predictor.predict(columns)
            numbers = np.column_stack([one for one in answers.values() if isinstance(one, np.ndarray)])
            wanted = scores_of(predictor.signature, values)
            parity = read_manifest(case / "bundle").parity
            assert parity is not None
            assert np.abs(numbers - wanted).max() <= parity.tolerance * max(1.0, np.abs(wanted).max()), (
                kind,
                case.name,
            )
            if predictor.signature.task == "multiclass":
                assert answers["label"] == [str(one) for one in wanted.argmax(axis=1)]
            assert parity.label_flips == 0
            assert parity.generated_rows > 1000
            seen += 1
    assert seen == 5 + 3 + 4


def test_what_cannot_be_proven_is_refused(made: dict[str, Path]) -> None:
    refused = {kind: json.loads((folder / "refused.json").read_text()) for kind, folder in made.items()}
    said = refused["torch"]
    assert "answers a row otherwise alone than among others" in said["Beside"]
    assert said["Chance"].startswith("refused: ")
    assert "answers 2 things; allowed is one tensor" in said["Two"]
    assert said["Branch"].startswith(("refused: ", "cannot_compile: "))
    assert "computes in float16" in said["Linear"]
    assert "does not answer the first rows of the sample" in said["Linear 2"]
    for kind in ("keras on torch", "tensorflow"):
        assert "takes 2 inputs; allowed is one" in refused[kind]["two inputs"]
        assert "takes int32" in refused[kind]["words"]
        assert refused[kind]["chance"].startswith(("refused: ", "cannot_compile: "))


@contextmanager
def served(folders: list[Path], port: int, *options: str, python: str = sys.executable) -> Iterator[None]:
    command = [python, "-m", "boucle", "serve", *map(str, folders), "--port", str(port), *options]
    process = subprocess.Popen(
        command, cwd=folders[0].parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert "answer" in process.stdout.readline()
        yield
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors


def test_images_are_asked_by_a_client_as_they_are(made: dict[str, Path], tmp_path: Path) -> None:
    names = {"torch": "digits-of-torch", "keras on torch": "digits-of-keras", "tensorflow": "digits-of-tensorflow"}
    folders = []
    for kind, name in names.items():
        shutil.copytree(made[kind] / "digits" / "bundle", tmp_path / name)
        folders.append(tmp_path / name)
    port = free_port("127.0.0.1")
    with served(folders, port), triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for kind, name in names.items():
            rows, values = expected(made[kind] / "digits")
            (told,) = client.get_model_metadata(name)["inputs"]
            assert told["shape"] == [-1, *rows.shape[1:]]
            tensor = triton.InferInput(told["name"], list(rows.shape), "FP32")
            tensor.set_data_from_numpy(rows.astype(np.float32))
            answer = client.infer(name, [tensor])
            assert [one.decode() for one in answer.as_numpy("label")] == [str(one) for one in values.argmax(axis=1)]


def test_a_saved_model_is_served_where_code_is_allowed_and_signed(made: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "bessel"
    shutil.copytree(made["tensorflow"] / "kept" / "bessel", folder)
    key = new_key()
    signature_file(folder).write_bytes(sign(folder.name, listing(folder), key))
    (tmp_path / "key.pub").write_bytes(public_pem(key.public_key()))
    trust = Trust(keys=[public_pem(key.public_key()).decode()], allow_code=True)
    for refusing in (None, Trust(allow_code=True), replace(trust, allow_code=False)):
        with pytest.raises(Refused):
            open_bundle(folder, refusing)
    with pytest.raises(Unavailable, match="TensorFlow is not installed here"):
        open_bundle(folder, trust)
    found = np.load(made["tensorflow"] / "kept" / "answers.npz")
    python = str(ROOT / "build" / "tensorflow" / "bin" / "python")
    options = ("--allow-code", "--signed-by", str(tmp_path / "key.pub"))
    port = free_port("127.0.0.1")
    with (
        served([folder], port, *options, python=python),
        triton.InferenceServerClient(f"127.0.0.1:{port}", network_timeout=60) as client,
    ):
        tensor = triton.InferInput("input", list(found["rows"].shape), "FP32")
        tensor.set_data_from_numpy(found["rows"])
        answer = client.infer("bessel", [tensor])
        assert answer.as_numpy("value_1") == pytest.approx(found["values"][:, 1], rel=1e-5)
