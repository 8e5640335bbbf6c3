"""Networks become bundles: what an exporter writes is proven, and refused where it is wrong."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import numpy_helper
from sklearn.linear_model import LinearRegression

import boucle
from boucle.kernel.errors import CannotCompile, InvalidInput, Refused, Unavailable
from boucle.packaging.installed import predict_with
from boucle.packaging.networks.compile import compile_network, keep_network
from boucle.packaging.networks.graph import wrapped
from boucle.packaging.networks.network import Network, matrix_of, one_array
from boucle.packaging.networks.proof import in_parts
from boucle.packaging.pyfunc import _load_pyfunc

_SPEC = importlib.util.spec_from_file_location("golden_network", Path(__file__).with_name("golden_network.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
golden: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden)  # test folders are no packages
NETWORK, ROWS, WEIGHTS, WRITTEN = golden.NETWORK, golden.ROWS, golden.WEIGHTS, golden.WRITTEN
predictor, values_of = golden.predictor, golden.values_of
Array = NDArray[Any]


def edited(change: Callable[[Any], None]) -> Network:
    """The network, with another thing written by its exporter."""
    model = onnx.load_from_string(WRITTEN)
    change(model)
    data = bytes(model.SerializeToString())
    return replace(NETWORK, export=lambda _: data)


def test_numbers_of_a_tensor() -> None:
    made, table = compile_network(NETWORK, ROWS)
    (one,) = made.signature.inputs
    assert (one.name, one.kind, one.shape, one.nullable) == ("image", "tensor", [2, 2], False)
    assert [output.name for output in made.signature.outputs] == ["value_0", "value_1", "value_2"]
    answers = predictor(made).predict({"image": ROWS})
    np.testing.assert_allclose(np.column_stack(list(answers.values())), values_of(ROWS), atol=1e-6)
    assert (made.parity.compiler, made.parity.tolerance, made.parity.label_flips) == ("torch.onnx", 1e-5, 0)
    assert made.parity.held_out_rows == 48
    assert made.parity.generated_rows > 1000
    assert table["image"].to_numpy().shape == (5, 2, 2)


def test_classes_of_values_that_are_no_probabilities() -> None:
    made, _ = compile_network(NETWORK, ROWS, classes=["cat", "dog", "owl"])
    answers = predictor(made).predict({"image": ROWS})
    powers = np.exp(values_of(ROWS).astype(np.float64))
    np.testing.assert_allclose(
        answers["probability_dog"], (powers / powers.sum(axis=1, keepdims=True))[:, 1], atol=1e-6
    )
    assert answers["label"] == [["cat", "dog", "owl"][at] for at in values_of(ROWS).argmax(axis=1)]


def test_the_columns_of_a_table_are_one_vector() -> None:
    flat = replace(NETWORK, ask=lambda rows: values_of(rows.reshape(-1, 2, 2)))
    table = pl.DataFrame(ROWS.reshape(-1, 4), schema=["a", "b", "c", "d"])
    made, example = compile_network(flat, table)
    assert [(one.name, one.kind) for one in made.signature.inputs] == [(name, "number") for name in "abcd"]
    answers = predictor(made).predict({name: table[name].to_list() for name in "abcd"})
    np.testing.assert_allclose(answers["value_2"], values_of(ROWS)[:, 2], atol=1e-6)
    assert example.columns == ["a", "b", "c", "d"]
    with pytest.raises(InvalidInput, match="'a', row 0 is missing"):
        predictor(made).predict({"a": [None], "b": [1.0], "c": [1.0], "d": [1.0]})


@pytest.mark.parametrize("rows", [0, 1, 2, 1000])
def test_any_number_of_rows(rows: int) -> None:
    made, _ = compile_network(NETWORK, ROWS)
    asked = np.resize(ROWS, (rows, 2, 2))
    answers = predictor(made).predict({"image": asked})
    assert len(answers["value_0"]) == rows
    np.testing.assert_allclose(answers["value_0"], values_of(asked)[:, 0], atol=1e-6)


def _off_by_little(model: Any) -> None:
    for one in model.graph.initializer:
        array = numpy_helper.to_array(one)
        if array.shape == (3,):
            one.CopyFrom(numpy_helper.from_array(array + np.float32(1e-3), one.name))


def _without_relu(model: Any) -> None:
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Identity"


def _for_two_rows(model: Any) -> None:
    for one in model.graph.initializer:
        if one.data_type == onnx.TensorProto.INT64:
            one.CopyFrom(numpy_helper.from_array(np.array([2, 4], dtype=np.int64), one.name))


@pytest.mark.parametrize("wrong", [_off_by_little, _without_relu])
def test_a_wrong_exporter_is_refused(wrong: Callable[[Any], None]) -> None:
    with pytest.raises(Refused, match=r"compiled by torch\.onnx is not the fitted one"):
        compile_network(edited(wrong), ROWS)


def test_an_export_for_so_many_rows_only_is_refused() -> None:
    with pytest.raises(CannotCompile, match="cannot be asked with"):
        compile_network(edited(_for_two_rows), ROWS)


def test_answers_that_depend_on_the_rows_beside_are_refused() -> None:
    beside = replace(NETWORK, ask=lambda rows: values_of(rows - rows.mean(axis=0)))
    with pytest.raises(Refused, match="answers a row otherwise alone than among others"):
        compile_network(beside, ROWS)


def test_what_depends_on_chance_is_refused() -> None:
    draw = np.random.default_rng(1)
    drawn = replace(NETWORK, ask=lambda rows: values_of(rows) + draw.normal(size=(len(rows), 3)))
    with pytest.raises(Refused):
        compile_network(drawn, ROWS)


def test_the_limit_is_where_the_two_still_agree() -> None:
    far = replace(NETWORK, ask=lambda rows: values_of(np.clip(rows, -1e6, 1e6)))
    made, _ = compile_network(far, ROWS)
    assert made.signature.inputs[0].limit == 1e6
    with pytest.raises(InvalidInput, match="allowed are numbers from -1e"):
        predictor(made).predict({"image": np.full((1, 2, 2), 1e9)})


def test_missing_values_that_the_network_answers() -> None:
    model = onnx.load_from_string(WRITTEN)
    given = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["filled" if name == given else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.0), "nothing"))
    nodes = [
        onnx.helper.make_node("IsNaN", [given], ["gaps"]),
        onnx.helper.make_node("Where", ["gaps", "nothing", given], ["filled"]),
    ]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    data = bytes(model.SerializeToString())
    filling = replace(NETWORK, ask=lambda rows: values_of(np.nan_to_num(rows)), export=lambda _: data)
    made, _ = compile_network(filling, ROWS)
    assert made.signature.inputs[0].nullable
    answers = predictor(made).predict({"image": [[[None, 1.0], [2.0, 3.0]]]})
    np.testing.assert_allclose(answers["value_0"], values_of(np.array([[0.0, 1, 2, 3]]))[:, 0], atol=1e-6)


def test_the_same_network_gives_the_same_bytes_and_none_of_the_machine_s() -> None:
    def noted(model: Any) -> None:
        model.doc_string = model.graph.doc_string = model.graph.node[0].doc_string = "/home/ada/model.py"
        model.producer_version = "9.9"
        note = model.graph.node[0].metadata_props.add()
        note.key, note.value = "stack_trace", "/home/ada/model.py"

    made = [compile_network(network, ROWS)[0].files["model.onnx"] for network in (NETWORK, edited(noted))]
    assert made[0] == made[1]
    assert b"/home/ada" not in made[1]


def test_samples_and_classes_that_cannot_be() -> None:
    for sample, said in (
        (ROWS[:1], "has 1 rows; at least 2"),
        (ROWS[:, 0, 0], "allowed are rows of numbers"),
        (np.array([["a"]]), "allowed are rows of numbers"),
        ([1, 2], "the sample is a list"),
        (pl.DataFrame({"a": ["x", "y"]}), "column 'a' of the sample is text"),
    ):
        with pytest.raises(InvalidInput, match=said):
            compile_network(NETWORK, sample)
    for classes, said in ((["a", "b"], "answers 3 values a row, and there are 2"), (["a", "a", "b"], "each once")):
        with pytest.raises(InvalidInput, match=said):
            compile_network(NETWORK, ROWS, classes=classes)
    with pytest.raises(Refused, match="does not answer the first rows of the sample"):
        compile_network(NETWORK, np.zeros((4, 3)))
    with pytest.raises(Refused, match="row 1 of the sample with a number that is not finite"):
        compile_network(NETWORK, np.array([[[1.0, 2], [3, 4]], [[np.nan, 2], [3, 4]]]))


def test_answers_that_are_no_numbers_a_row() -> None:
    with pytest.raises(CannotCompile, match=r"shape \(3, 4, 2\) to 3 rows"):
        matrix_of(np.zeros((3, 4, 2)), 3, "m")
    with pytest.raises(CannotCompile, match="answers 2 things"):
        one_array((1, 2), "m")
    assert one_array([{"a": 5}], "m") == 5
    assert in_parts(lambda rows: rows[:, 0], np.zeros((600, 2))).shape == (600,)


def test_of_two_values_one_is_kept() -> None:
    two = WEIGHTS["3_weight"][:2], WEIGHTS["3_bias"][:2]

    def narrow(model: Any) -> None:
        for one in model.graph.initializer:
            array = numpy_helper.to_array(one)
            if array.shape in ((3, 8), (8, 3), (3,)):
                cut = array[:, :2] if array.shape == (8, 3) else array[:2]
                one.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(cut), one.name))

    def ask(rows: Array) -> Array:
        hidden = np.maximum(rows.reshape(len(rows), 4) @ WEIGHTS["1_weight"].T + WEIGHTS["1_bias"], 0)
        return np.asarray(hidden @ two[0].T + two[1])

    made, _ = compile_network(replace(edited(narrow), ask=ask), ROWS, classes=["no", "yes"])
    answers = predictor(made).predict({"image": ROWS})
    values = ask(ROWS).astype(np.float64)
    np.testing.assert_allclose(answers["probability"], 1 / (1 + np.exp(values[:, 0] - values[:, 1])), atol=1e-6)
    assert answers["label"] == ["yes" if one[1] > one[0] else "no" for one in values]


def test_what_was_exported_with_two_inputs_is_refused() -> None:
    model = onnx.load_from_string(WRITTEN)
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", 1, [None]))
    with pytest.raises(CannotCompile, match="2 inputs and 1 outputs"):
        wrapped(model.SerializeToString(), [2, 2], double=False, width=3, taken="all", title="m")


def test_what_is_missing_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(InvalidInput, match="is no SavedModel: it has no "):
        boucle.bundle(tmp_path, sample=ROWS, path=tmp_path / "b")
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(Unavailable, match="read by TensorFlow, which is not installed here") as raised:
        boucle.bundle(str(tmp_path), sample=ROWS, path=tmp_path / "b")
    assert raised.value.hint == "pip install 'boucle[tensorflow]'"
    with pytest.raises(CannotCompile, match="kept as code in no way"):
        keep_network(NETWORK, ROWS)
    fitted = LinearRegression().fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(InvalidInput, match="is no network"):
        boucle.bundle(fitted, sample=np.zeros((2, 1)), path=tmp_path / "b", classes=["a", "b"])


def test_a_bundle_of_tensors_is_a_model_of_mlflow(tmp_path: Path) -> None:
    folder = golden.write_bundle(tmp_path / "b")
    text = (folder / "MLmodel").read_text()
    assert '"tensor-spec": {"dtype": "float32", "shape": [-1, 2, 2]}' in text
    assert "type: ndarray" in text
    example = json.loads((folder / "input_example.json").read_text())
    np.testing.assert_array_equal(np.array(example, dtype=np.float32), ROWS[:5])
    answered = _load_pyfunc(str(folder)).predict(ROWS)
    assert list(answered.columns) == ["probability_cat", "probability_dog", "probability_owl", "label"]
    assert answered["label"].tolist() == [["cat", "dog", "owl"][at] for at in values_of(ROWS).argmax(axis=1)]
    ask = predict_with(folder)
    for rows in (ROWS, ROWS.tolist(), {"image": ROWS}, [{"image": row} for row in ROWS.tolist()]):
        assert ask(rows)["label"] == answered["label"].tolist()
