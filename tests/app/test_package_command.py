"""A bundle as a wheel, installed and asked; the same bundle gives the same bytes."""

import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from boucle.app.main import run_command
from boucle.kernel.errors import BoucleError, InvalidInput
from boucle.kernel.trees import digest_folder
from boucle.packaging.image import write_context
from boucle.packaging.installed import columns_in
from boucle.packaging.pyfunc import _load_pyfunc
from boucle.packaging.wheel_of_bundle import package_name, write_model_wheel

ASK = """
import sys
import pandas, polars
from flights import predict
rows = [{"carrier": "UA", "temp": 80.0}, {"carrier": None}]
answers = [predict(rows), predict(pandas.DataFrame(rows)), predict(polars.DataFrame(rows))]
assert answers[0] == answers[1] == answers[2], answers
print(answers[0]["probability"], answers[0]["label"])
"""


@pytest.fixture
def bundle(tmp_path: Path, bundles: ModuleType) -> Path:
    return bundles.write_bundle(tmp_path / "flights")


def test_an_installed_wheel_answers_as_the_bundle(bundle: Path, tmp_path: Path, bundles: ModuleType) -> None:
    wheel = write_model_wheel(bundle, digest_folder(bundle), "flights", 3, tmp_path / "dist")
    target = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:  # what an installer does with a wheel of this kind
        archive.extractall(target)
    path = f"import sys; sys.path.insert(0, {str(target)!r})"
    done = subprocess.run([sys.executable, "-c", path + ASK], capture_output=True, text=True, check=True)
    expected = [bundles.probability("UA", 80.0), bundles.probability(None, None)]
    assert done.stdout == f"{expected} ['late', 'on time']\n"


def test_the_same_bundle_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    digest = digest_folder(bundle)
    first, second = (
        write_model_wheel(bundle, digest, "flights", 3, tmp_path / name).read_bytes() for name in ("first", "second")
    )
    assert first == second


def test_pip_takes_it(bundle: Path, tmp_path: Path) -> None:
    wheel = write_model_wheel(bundle, digest_folder(bundle), "Flights of 2013", None, tmp_path / "dist")
    assert wheel.name.startswith("flights_of_2013-0+")
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no pip here")
    folder = tmp_path / "installed"
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", folder, wheel], check=True)
    assert (folder / "flights_of_2013" / "bundle" / "boucle.json").exists()


@pytest.mark.long
def test_what_is_printed_works_where_nobody_has_boucle(
    bundle: Path,
    tmp_path: Path,
    bundles: ModuleType,
    environment: Callable[[Sequence[str]], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["package", str(bundle), "--wheel", str(tmp_path / "dist")]) == 0
    command = capsys.readouterr().out.splitlines()[-1].partition(";")[0]
    python = environment([*shlex.split(command)[2:], "polars", "pandas"])
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [python, "-c", ASK], capture_output=True, text=True, check=True, env={}, cwd=tmp_path / "elsewhere"
    )
    expected = [bundles.probability("UA", 80.0), bundles.probability(None, None)]
    assert done.stdout == f"{expected} ['late', 'on time']\n"


def test_a_command_writes_it(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["package", str(bundle), "--wheel", str(tmp_path / "dist")]) == 0
    printed = capsys.readouterr().out
    assert "from flights import predict" in printed
    assert f"pip install --find-links {tmp_path / 'dist'} {tmp_path / 'dist'}" in printed
    assert run_command(["package", str(bundle)]) == 2
    assert "one of --wheel and --image" in capsys.readouterr().err
    assert run_command(["package", str(bundle), "--image", str(bundle)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_what_is_no_table_is_told() -> None:
    with pytest.raises(InvalidInput, match="row 1 is int; a list holds rows as mappings"):
        columns_in([{"a": 1}, 2], ["a"])
    with pytest.raises(InvalidInput, match="a text is no table"):
        columns_in("a,b", ["a"])
    with pytest.raises(InvalidInput, match="float is no table"):
        columns_in(1.5, ["a"])


def test_a_column_that_no_row_has_is_missing_and_not_empty() -> None:
    assert columns_in([{"a": 1.0}, {}, {"tmep": 2.0}], ["a", "temp"]) == {"a": [1.0, None, None]}
    assert columns_in([], ["a"]) == {"a": []}


@pytest.mark.parametrize("name", ["2013", "Größe", "boucle", "!", "class", "json", "import"])
def test_a_name_that_no_package_can_have_is_refused(name: str) -> None:
    if name == "Größe":
        assert package_name(name) == "gr_e"
        return
    with pytest.raises(InvalidInput, match="no package can be called as the model"):
        package_name(name)


def test_a_folder_for_an_image_takes_every_name_that_a_model_may_have(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["package", str(bundle), "--image"]
    assert run_command([*words, str(tmp_path / "image"), "--name", "taxi $fares [1]"]) == 0
    file = (tmp_path / "image" / "Dockerfile").read_text()
    assert 'COPY ["model/taxi \\\\$fares [[]1]", "/opt/ml/model/taxi \\\\$fares [1]"]\n' in file
    assert 'title="taxi \\$fares [1]"' in file
    assert "docker build -t taxi-fares-1 " in capsys.readouterr().out
    for name in ("../x", ".", "a/b"):
        assert run_command([*words, str(tmp_path / "other"), "--name", name]) == 2
        assert "a model cannot be called" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["requirements.txt", "Dockerfile", "model"])
def test_a_model_may_be_called_as_another_file_of_the_image(bundle: Path, tmp_path: Path, name: str) -> None:
    image = tmp_path / "image"
    assert run_command(["package", str(bundle), "--image", str(image), "--name", name]) == 0
    assert f'COPY ["model/{name}", "/opt/ml/model/{name}"]\n' in (image / "Dockerfile").read_text()
    assert "msgspec==" in (image / "requirements.txt").read_text()
    assert digest_folder(image / "model" / name) == digest_folder(bundle)


@pytest.mark.parametrize("was_there", [False, True])
def test_an_image_that_cannot_be_written_leaves_nothing(bundle: Path, tmp_path: Path, *, was_there: bool) -> None:
    image = tmp_path / "image"
    if was_there:
        image.mkdir()
    with pytest.raises(BoucleError):
        write_context(bundle, digest_folder(bundle), "flights", image, {f".{'long' * 100}": b""})
    assert image.exists() == was_there
    assert not was_there or not list(image.iterdir())


@pytest.mark.parametrize("name", ["churn\nRequires-Dist: evil", "churn\\", "churn\r2"])
def test_a_name_that_no_model_may_have_gets_into_no_wheel(bundle: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="a model cannot be called"):
        write_model_wheel(bundle, digest_folder(bundle), name, 3, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("name", ['churn"""+print("INJECTED") or """', "churn'''+print('INJECTED')", '{churn} "'])
def test_a_name_is_text_in_a_wheel_and_never_code(bundle: Path, tmp_path: Path, name: str) -> None:
    wheel = write_model_wheel(bundle, digest_folder(bundle), name, 3, tmp_path / "dist")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    program = f"import sys; sys.path.insert(0, sys.argv[1]); import {package_name(name)} as made; print(made.__doc__)"
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "installed"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"Model {name}, bundle {digest_folder(bundle)}.\n"


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (["UA", None], "string", ["UA", None]),
        ([1, None], "Int64", [1, None]),
        ([True, None], "boolean", [True, None]),
        ([0.5, None], "Float64", [0.5, None]),
        (["UA", pd.NA, None, np.nan, pd.NaT], "object", ["UA", None, None, None, None]),
    ],
)
def test_what_pandas_calls_missing_is_missing(values: list[object], dtype: str, expected: list[object]) -> None:
    table = pd.DataFrame({"a": pd.Series(values, dtype=dtype)})
    assert columns_in(table, ["a"]) == {"a": expected}
    if dtype != "object":
        assert (
            columns_in(table.to_dict("list"), ["a"]) == columns_in(table.to_dict("records"), ["a"]) == {"a": expected}
        )


def test_mlflow_may_give_columns_with_gaps_of_pandas(bundle: Path, bundles: ModuleType) -> None:
    rows = pd.DataFrame({"carrier": pd.array(["UA", None], "string"), "temp": pd.array([80, None], "Int64")})
    answers = _load_pyfunc(str(bundle)).predict(rows)
    assert answers["probability"].tolist() == [bundles.probability("UA", 80.0), bundles.probability(None, None)]
