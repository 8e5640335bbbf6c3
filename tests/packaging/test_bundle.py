import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import polars as pl
import pytest
from msgspec.structs import replace

from boucle.kernel.digests import canonical_json, digest_bytes
from boucle.kernel.errors import Damaged, InvalidInput, NotFound, Refused
from boucle.packaging.api import Predictor, columns_of, open_bundle, package, predict_table, read_manifest, scores_in
from boucle.packaging.records import PackagingSection
from boucle.training.api import encode_table, scores_of
from boucle.training.records import Fitted


@pytest.fixture
def folder(fitted: Fitted, held_out: pl.DataFrame, tmp_path: Path) -> Path:
    package(fitted, held_out, tmp_path / "bundle", PackagingSection(), key="flight", time="at")
    return tmp_path / "bundle"


def opened(fitted: Fitted, held_out: pl.DataFrame, folder: Path) -> Predictor:
    package(fitted, held_out, folder, PackagingSection(), key=None, time=None)
    return open_bundle(folder)


@pytest.mark.parametrize("target", ["late", "size", "delay", "rate"])
def test_the_bundle_answers_as_the_fitted_model(
    fitted_to: Callable[[str], Fitted], held_out: pl.DataFrame, target: str, tmp_path: Path
) -> None:
    fitted = fitted_to(target)
    predictor = opened(fitted, held_out, tmp_path / "bundle")
    outputs = predict_table(predictor, held_out)
    expected = scores_of(fitted.estimator, encode_table(held_out, fitted.encoding), fitted.task, len(fitted.classes))
    assert [output.name for output in predictor.signature.outputs] == list(outputs)
    np.testing.assert_allclose(scores_in(outputs), expected, rtol=1e-12, atol=1e-12 * abs(expected).max())
    if target == "late":
        assert outputs["label"] == ["true" if p >= 0.4 else "false" for p in expected.tolist()]
    if target == "size":
        assert list(outputs) == ["probability_large", "probability_medium", "probability_small", "label"]
        assert outputs["label"] == [fitted.classes[code] for code in expected.argmax(axis=1)]


def test_threads_batches_and_lists_do_not_matter(folder: Path, held_out: pl.DataFrame) -> None:
    predictor = open_bundle(folder)
    columns = columns_of(held_out, predictor.signature)
    whole = predictor.predict(columns)["probability"]
    for nthread in (2, 10_000):
        assert np.array_equal(predictor.predict(columns, nthread=nthread)["probability"], whole)
    plain = {name: held_out[name].to_list() for name in columns}
    assert np.array_equal(predictor.predict(plain)["probability"], whole)
    single = [
        predictor.predict({name: values[row : row + 1] for name, values in plain.items()})["probability"][0]
        for row in range(20)
    ]
    assert single == whole[:20].tolist()


def test_no_rows_get_no_answers(folder: Path, held_out: pl.DataFrame) -> None:
    outputs = predict_table(open_bundle(folder), held_out.clear())
    assert {name: len(values) for name, values in outputs.items()} == {"probability": 0, "label": 0}


def test_a_category_never_seen_is_served_as_missing(folder: Path, held_out: pl.DataFrame) -> None:
    predictor = open_bundle(folder)
    unseen = predict_table(predictor, held_out.with_columns(carrier=pl.lit("never seen")))
    missing = predict_table(predictor, held_out.with_columns(carrier=pl.lit(None, dtype=pl.String)))
    assert unseen["label"] == missing["label"]


def test_the_signature_tells_ranges_and_roles(folder: Path, train: pl.DataFrame) -> None:
    signature = open_bundle(folder).signature
    assert [one.name for one in signature.inputs] == ["carrier", "origin", "temp", "wind"]
    assert signature.inputs[1].categories == ["EWR", "JFK"]
    assert (signature.inputs[3].minimum, signature.inputs[3].maximum) == (train["wind"].min(), train["wind"].max())
    assert (signature.key, signature.time, signature.threshold) == ("flight", "at", 0.4)


def test_tables_must_have_the_columns_and_types(folder: Path, held_out: pl.DataFrame) -> None:
    predictor = open_bundle(folder)
    with pytest.raises(InvalidInput, match="column 'temp' is missing"):
        predict_table(predictor, held_out.drop("temp"))
    with pytest.raises(InvalidInput, match="column 'temp' is String"):
        predict_table(predictor, held_out.with_columns(pl.col("temp").cast(pl.String)))


def test_damaged_model_bytes_never_reach_the_parser(folder: Path) -> None:
    model = folder / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    with pytest.raises(Damaged, match=r"model\.onnx' should have digest"):
        open_bundle(folder)
    model.unlink()
    with pytest.raises(Damaged, match=r"has lost its model\.onnx"):
        open_bundle(folder)


@pytest.mark.parametrize("place", ["weights.bin", "../weights.bin", "/etc/hostname"])
def test_a_graph_reads_no_other_file(place: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights may lie beside a graph, in files that it names."""
    (folder / "weights.bin").write_bytes(bytes(1024))
    monkeypatch.chdir(folder)
    graph = onnx.load(str(folder / "model.onnx"))
    weights = graph.graph.initializer.add(name="w", data_type=onnx.TensorProto.DOUBLE, dims=[1])
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", place), ("offset", "0"), ("length", "8")):
        weights.external_data.add(key=key, value=value)
    last = graph.graph.node[-1]
    last.output[0] = "before"
    graph.graph.node.append(onnx.helper.make_node("Add", ["before", "w"], ["Y"]))
    data = graph.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    manifest = read_manifest(folder)
    manifest = replace(manifest, files={"model.onnx": digest_bytes(data)})
    (folder / "boucle.json").write_bytes(canonical_json(manifest))
    with pytest.raises(Refused, match=r"ONNX Runtime does not open 'model\.onnx': External data path"):
        open_bundle(folder)


def test_manifests_that_cannot_be_read_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"is no bundle: it has no boucle\.json"):
        open_bundle(tmp_path)
    manifest = folder / "boucle.json"
    content = msgspec.json.decode(manifest.read_bytes())
    manifest.write_bytes(msgspec.json.encode(content | {"format": 3}))
    with pytest.raises(InvalidInput, match="has bundle format 3; this Boucle reads formats 1 to 2"):
        open_bundle(folder)
    manifest.write_bytes(msgspec.json.encode(content | {"stages": [{"kind": "pickle", "file": "model.pkl"}]}))
    with pytest.raises(Damaged, match=r"Invalid value 'pickle' - at `\$\.stages\[0\]\.kind`"):
        open_bundle(folder)
    manifest.write_bytes(msgspec.json.encode(content | {"files": {}}))
    with pytest.raises(Damaged, match=r"stage 'onnx' names 'model\.onnx', which is not among its files"):
        open_bundle(folder)
    manifest.write_bytes(msgspec.json.encode(content | {"files": {"model.onnx": "0" * 64, "../other": "0" * 64}}))
    with pytest.raises(Damaged, match="should have digest"):
        open_bundle(folder)
    manifest.write_bytes(msgspec.json.encode(content | {"files": content["files"] | {"../other": "0" * 64}}))
    with pytest.raises(InvalidInput, match=r"contains '\.\.'"):
        open_bundle(folder)
    manifest.write_bytes(msgspec.json.encode(content | {"signature": 3}))
    with pytest.raises(Damaged, match=r"Expected `object`, got `int` - at `\$\.signature`"):
        open_bundle(folder)


def test_nobody_is_told_what_is_loaded(folder: Path, tmp_path: Path) -> None:
    """ONNX Runtime has telemetry; where it is on, it leaves a device's id in the home folder."""
    program = (
        "import sys; from pathlib import Path; from boucle.packaging.bundle import open_bundle\n"
        "open_bundle(Path(sys.argv[1])); assert 'onnxruntime' in sys.modules"
    )
    around = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program, folder], env=around, check=True)
    assert not [path for path in tmp_path.rglob("*nnx*") if not path.is_relative_to(folder)]


def test_reading_a_bundle_loads_no_training_library(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from boucle.packaging.bundle import open_bundle\n"
        "columns = {'carrier': ['AA'], 'origin': [None], 'temp': [1], 'wind': [2]}\n"
        "print(open_bundle(Path(sys.argv[1])).predict(columns))\n"
        "heavy = {'polars', 'sklearn', 'sqlalchemy', 'pandas', 'pyarrow', 'optuna', 'altair', 'threadpoolctl'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "probability" in done.stdout
