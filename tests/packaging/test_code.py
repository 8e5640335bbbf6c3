"""Models that no compiler knows are kept as code, and code is loaded by nobody who was not told to."""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from msgspec.structs import replace
from sklearn.compose import make_column_transformer
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import boucle
from boucle.app.main import run_command
from boucle.kernel.digests import canonical_json, digest_bytes
from boucle.kernel.errors import InvalidInput, Refused, Unavailable
from boucle.kernel.trees import listing
from boucle.packaging.api import Predictor, open_bundle, read_manifest
from boucle.packaging.code import MODEL, CodePipeline
from boucle.packaging.keeping import needed
from boucle.packaging.records import EncodeStage, PostStage, SavedModelStage
from boucle.packaging.saved import packed, unpacked
from boucle.packaging.signing import new_key, public_pem, sign
from boucle.packaging.trust import Trust, signature_file
from boucle.serving.folders import take_in

KEY = new_key()
TRUST = Trust(keys=[public_pem(KEY.public_key()).decode()], allow_code=True)
ROWS = np.random.default_rng(1).normal(size=(40, 2))


def kept(model: Any, folder: Path, sample: Any = ROWS) -> Path:
    with pytest.warns(UserWarning, match="kept as it is, as code"):
        made = boucle.bundle(model, sample=sample, path=folder, keep_code=True)
    signature_file(made).write_bytes(sign(made.name, listing(made), KEY))
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return kept(GaussianProcessClassifier().fit(ROWS, ROWS[:, 0] > 0), tmp_path / "gp")


def test_a_model_kept_as_code_answers_as_itself(folder: Path) -> None:
    answers = open_bundle(folder, TRUST).predict({"x0": ROWS[:, 0].tolist(), "x1": ROWS[:, 1].tolist()})
    model = GaussianProcessClassifier().fit(ROWS, ROWS[:, 0] > 0)
    assert answers["probability"].tolist() == model.predict_proba(ROWS)[:, 1].tolist()  # type: ignore[union-attr]
    assert answers["label"] == ["true" if one else "false" for one in model.predict(ROWS)]
    manifest = read_manifest(folder)
    assert manifest.parity is None
    assert any(line.startswith("scikit-learn==") for line in manifest.environment)


def test_a_regression_on_a_pandas_table(tmp_path: Path) -> None:
    table = pd.DataFrame({"items": np.arange(40), "weight": ROWS[:, 0]})
    model = GaussianProcessRegressor(optimizer=None).fit(table, ROWS[:, 1])
    predictor = open_bundle(kept(model, tmp_path / "gp", table), TRUST)
    answers = predictor.predict({"weight": table["weight"].tolist(), "items": table["items"].tolist()})
    assert answers["value"].tolist() == model.predict(table).tolist()  # type: ignore[union-attr]


class Bomb:
    """What a pickle can do."""

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.place),)

    def __init__(self, place: Path) -> None:
        self.place = place


def test_code_is_loaded_by_nobody_who_was_not_told_to(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "exploded"
    data = pickle.dumps(Bomb(place))
    (folder / MODEL).write_bytes(data)
    manifest = replace(read_manifest(folder), files={MODEL: digest_bytes(data)})
    (folder / "boucle.json").write_bytes(canonical_json(manifest))
    for trust in (None, Trust(allow_code=True), replace(TRUST, allow_code=False)):
        with pytest.raises(Refused):
            open_bundle(folder, trust)
        with pytest.raises(Refused):
            take_in(tmp_path / "home", [folder], trust)
    with pytest.raises(Refused, match="is not what was signed"):
        open_bundle(folder, TRUST)
    with pytest.raises(AssertionError):
        Predictor(manifest, {MODEL: data})
    assert needed(data) == []
    assert not place.exists()
    with pytest.raises(InvalidInput, match="no model of a bundle"):  # the bomb does go off where it is loaded
        CodePipeline(manifest.signature, data)
    assert place.exists()


def test_the_server_says_what_it_refuses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["serve", str(folder)]) == 3
    assert "is code, which runs with your rights when it is loaded" in capsys.readouterr().err
    assert run_command(["serve", str(folder), "--allow-code"]) == 3
    assert "nobody says whose signature counts" in capsys.readouterr().err
    assert run_command(["serve", "--allow-code"]) == 2
    assert "--allow-code is for bundle folders" in capsys.readouterr().err


def test_no_image_is_made_of_code(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["package", str(folder), "--image", str(tmp_path / "image")]) == 3
    assert "an image is made of models that are data" in capsys.readouterr().err
    assert not (tmp_path / "image").exists()


def test_a_classifier_that_answers_labels_only_is_kept_with_scores_that_say_so(tmp_path: Path) -> None:
    model = Nearest().fit(ROWS, np.where(ROWS[:, 0] > 0, "high", "low"))
    predictor = open_bundle(kept(model, tmp_path / "b", ROWS), TRUST)
    assert [one.name for one in predictor.signature.outputs] == ["score", "label"]
    assert predictor.signature.margins
    answer = predictor.predict({f"x{place}": ROWS[:, place] for place in range(ROWS.shape[1])})
    assert list(answer["label"]) == model.predict(ROWS).tolist()
    assert set(answer["score"].tolist()) == {0.0, 1.0}


class Nearest:
    """A classifier of somebody's own, which answers labels and nothing else."""

    def fit(self, rows: Any, labels: Any) -> "Nearest":
        self.classes_ = np.unique(labels)
        self.means = np.array([rows[labels == one].mean(axis=0) for one in self.classes_])
        return self

    def predict(self, rows: Any) -> Any:
        far = ((np.asarray(rows)[:, None] - self.means[None]) ** 2).sum(axis=2)
        return self.classes_[far.argmin(axis=1)]


def test_what_is_asked_in_no_known_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="a object has no predict"):  # and no warning that it was kept
        boucle.bundle(object(), sample=ROWS, path=tmp_path / "b", keep_code=True)
    assert not (tmp_path / "b").exists()


def test_what_the_model_refuses_is_told_by_the_signature(tmp_path: Path) -> None:
    table = pd.DataFrame({"city": ["Rome", "Oslo"] * 20, "weight": ROWS[:, 0]})
    encoder = make_column_transformer((OneHotEncoder(sparse_output=False), ["city"]), remainder="passthrough")
    model = make_pipeline(encoder, GaussianProcessClassifier()).fit(table, ROWS[:, 0] > 0)
    predictor = open_bundle(kept(model, tmp_path / "gp", table), TRUST)
    assert [(one.name, one.nullable, one.closed) for one in predictor.signature.inputs] == [
        ("city", False, True),
        ("weight", False, False),
    ]
    with pytest.raises(InvalidInput, match=r"the model refuses these rows: .*NaN"):
        predictor.predict({"city": ["Rome"], "weight": [None]})


def test_labels_that_the_probabilities_do_not_give_are_those_of_the_model(tmp_path: Path) -> None:
    model = FixedThresholdClassifier(GaussianProcessClassifier(), threshold=0.9).fit(ROWS, ROWS[:, 0] > 0)
    predictor = open_bundle(kept(model, tmp_path / "b"), TRUST)
    answers = predictor.predict({"x0": ROWS[:, 0].tolist(), "x1": ROWS[:, 1].tolist()})
    labels = ["true" if one else "false" for one in model.predict(ROWS)]
    assert answers["label"] == labels
    assert labels != ["true" if one > 0.5 else "false" for one in model.predict_proba(ROWS)[:, 1]]


def test_labels_are_those_of_the_model_where_the_sample_has_no_row_at_its_threshold(tmp_path: Path) -> None:
    model = FixedThresholdClassifier(GaussianProcessClassifier(), threshold=0.3).fit(ROWS, ROWS[:, 0] > 0)
    rows = np.random.default_rng(2).normal(size=(200, 2))
    shares = model.predict_proba(rows)[:, 1]
    between = (shares > 0.25) & (shares < 0.55)
    predictor = open_bundle(kept(model, tmp_path / "b", rows[~between]), TRUST)
    answers = predictor.predict({"x0": rows[:, 0].tolist(), "x1": rows[:, 1].tolist()})
    assert answers["label"] == ["true" if one else "false" for one in model.predict(rows)]
    assert between.sum() > 5


class Halves:
    """A classifier that says no where it is as likely as not."""

    classes_ = np.array(["no", "yes"])

    def predict_proba(self, rows: Any) -> Any:
        shares = np.clip(np.asarray(rows)[:, 0], 0, 1)
        return np.column_stack([1 - shares, shares])

    def predict(self, rows: Any) -> Any:
        return self.classes_[self.predict_proba(rows).argmax(axis=1)]


def test_a_tie_is_decided_by_the_model(tmp_path: Path) -> None:
    predictor = open_bundle(kept(Halves(), tmp_path / "b", np.array([[0.0], [1.0]])), TRUST)
    assert predictor.predict({"x0": [0.5, 0.6]})["label"] == ["no", "yes"]


class Doubles:
    """A regression of somebody's own, which knows what to do without a value."""

    def predict(self, rows: Any) -> Any:
        first = rows if isinstance(rows, np.ndarray) else rows["age"]
        if isinstance(first, pd.Series):
            first = first.to_numpy(dtype=np.float64, na_value=np.nan)
        return 2 * np.nan_to_num(np.asarray(first, dtype=np.float64), nan=-1).reshape(len(rows), -1)[:, 0]


WHOLE = {"age": [35, 36], "sex": [0, 1]}
SAMPLES = {
    "array": np.array([[35, 0], [36, 1]]),
    "small array": np.array([[35, 0], [36, 1]], dtype=np.int8),
    "array of bool": np.array([[False, True], [True, False]]),
    "pandas": pd.DataFrame(WHOLE),
    "nullable": pd.DataFrame(WHOLE).astype("Int64"),
    "small nullable": pd.DataFrame(WHOLE).astype("UInt8"),
    "nullable bool": pd.DataFrame({"age": [True, False], "sex": [0, 1]}).astype("boolean"),
    "polars": pl.DataFrame(WHOLE),
    "small polars": pl.DataFrame(WHOLE, schema={"age": pl.Int8, "sex": pl.Int8}),
    "polars bool": pl.DataFrame({"age": [True, False], "sex": [True, False]}),
    "decimal": pl.DataFrame(WHOLE, schema={"age": pl.Decimal(4, 1), "sex": pl.Decimal(4, 1)}),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_numbers_reach_a_kept_model_as_they_were_sent(kind: str, tmp_path: Path) -> None:
    """Whole numbers of a sample promise nothing about the values that are asked with."""
    predictor = open_bundle(kept(Doubles(), tmp_path / "b", SAMPLES[kind]), TRUST)
    first, second = (one.name for one in predictor.signature.inputs)
    assert predictor.signature.inputs[0].nullable
    ages = [35.5, None, 40.0, -3.0, 3e9, 1e30, 35.25]
    for some in (ages, *([one] for one in ages)):
        answers = predictor.predict({first: some, second: [1.0] * len(some)})["value"]
        assert answers.tolist() == [2.0 * (-1.0 if one is None else one) for one in some]  # type: ignore[union-attr]


class Typed:
    """A model that answers whether the type that it is given is one of whole numbers, as 1 or -1."""

    def predict(self, rows: Any) -> Any:
        dtype = rows["age"].dtype if hasattr(rows, "columns") else rows.dtype
        return np.full(len(rows), 1.0 if "int" in str(dtype).lower() else -1.0)


@pytest.mark.parametrize("kind", ["array", "pandas", "nullable", "polars"])
def test_whole_numbers_stay_whole(kind: str, tmp_path: Path) -> None:
    predictor = open_bundle(kept(Typed(), tmp_path / "b", SAMPLES[kind]), TRUST)
    first, second = (one.name for one in predictor.signature.inputs)
    for value, answer in ((36.0, 1.0), (36.5, -1.0), (None, 1.0 if kind in ("nullable", "polars") else -1.0)):
        assert predictor.predict({first: [value], second: [1.0]})["value"].tolist() == [answer]  # type: ignore[union-attr]


def test_a_model_that_takes_nothing_missing_says_so_of_whole_numbers(tmp_path: Path) -> None:
    model = GaussianProcessRegressor(optimizer=None).fit(SAMPLES["array"], [1.0, 2.0])
    predictor = open_bundle(kept(model, tmp_path / "gp", SAMPLES["array"]), TRUST)
    assert [one.nullable for one in predictor.signature.inputs] == [False, False]


def test_several_values_of_a_row_are_outputs_of_their_own(tmp_path: Path) -> None:
    model = MultiOutputRegressor(GaussianProcessRegressor(optimizer=None)).fit(ROWS, ROWS[:, ::-1])
    predictor = open_bundle(kept(model, tmp_path / "b"), TRUST)
    answers = predictor.predict({"x0": ROWS[:, 0].tolist(), "x1": ROWS[:, 1].tolist()})
    assert list(answers) == ["value_0", "value_1"]
    assert answers["value_1"].tolist() == model.predict(ROWS)[:, 1].tolist()  # type: ignore[union-attr]


def test_whole_numbers_as_categories_are_given_back_as_such(tmp_path: Path) -> None:
    table = pd.DataFrame({"size": pd.Series([2, 5] * 20).astype("category"), "weight": ROWS[:, 0]})
    model = make_pipeline(GaussianProcessClassifier()).fit(table, ROWS[:, 0] > 0)
    predictor = open_bundle(kept(model, tmp_path / "gp", table), TRUST)
    answers = predictor.predict({"size": ["2", "5"] * 20, "weight": ROWS[:, 0].tolist()})
    assert answers["probability"].tolist() == model.predict_proba(table)[:, 1].tolist()  # type: ignore[union-attr]


def test_a_saved_model_is_code_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed(folder)
    assert packed(folder) == data
    assert unpacked(data)[MODEL] == (folder / MODEL).read_bytes()
    (folder / "saved_model.zip").write_bytes(data)
    (folder / MODEL).unlink()
    known = read_manifest(folder)
    stages = [
        EncodeStage(),
        SavedModelStage(file="saved_model.zip", shape=[2], double=False),
        PostStage(link="identity"),
    ]
    manifest = replace(known, files={"saved_model.zip": digest_bytes(data)}, stages=stages)
    (folder / "boucle.json").write_bytes(canonical_json(manifest))
    signature_file(folder).write_bytes(sign(folder.name, listing(folder), KEY))
    for trust in (None, Trust(allow_code=True), replace(TRUST, allow_code=False)):
        with pytest.raises(Refused):
            open_bundle(folder, trust)
    with pytest.raises(AssertionError):
        Predictor(manifest, {"saved_model.zip": data})
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(Unavailable, match="TensorFlow is not installed here") as raised:
        open_bundle(folder, TRUST)
    assert raised.value.hint == "pip install 'boucle[tensorflow]'"
