"""The real MLflow client sees the same on Boucle as on `mlflow server`, call by call."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from held_ports import free_port

from . import compare, raw, servers

pytestmark = pytest.mark.long

SCENES = [
    *("experiments", "runs", "values", "inputs", "artifacts", "models", "autolog", "evaluate", "registry", "search"),
    "beyond",
]


class Both(NamedTuple):
    """Everything that was seen on the one and on the other."""

    mlflow: dict[str, dict[str, Any]]
    boucle: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def both(play: Any, mlflow_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """All scenes and raw requests, played on each server; one server runs at a time."""
    seen = []
    for kind in ("mlflow", "boucle"):
        folder, port = tmp_path_factory.mktemp(kind), free_port()
        command = (
            servers.mlflow_command(mlflow_programs, folder, port)
            if kind == "mlflow"
            else servers.boucle_command(folder, port)
        )
        with servers.running(command, port, folder) as server:
            seen.append({**play(server.url, *SCENES), "raw": raw.asked(server.url)})
    return Both(*seen)


@pytest.fixture(scope="module")
def found(both: Both) -> list[compare.Difference]:
    return list(compare.differences(both.mlflow, both.boucle))


@pytest.mark.parametrize("scene", [*SCENES, "raw"])
def test_no_scene_broke(both: Both, scene: str) -> None:
    for seen in both:
        assert "!" not in seen[scene], seen[scene]["!"]


@pytest.mark.parametrize("scene", [*SCENES, "raw"])
def test_the_client_sees_the_same_or_a_difference_that_is_listed(found: list[compare.Difference], scene: str) -> None:
    listed = compare.meant()
    odd = [one for one in found if one.call.startswith(f"{scene}/") and not any(each.covers(one) for each in listed)]
    assert not odd, "\n".join(map(compare.told, odd))


def test_every_listed_difference_is_seen(found: list[compare.Difference]) -> None:
    gone = [one for one in compare.meant() if not any(one.covers(each) for each in found)]
    assert not gone, "\n".join(f"{one.call} {one.at}" for one in gone)


def test_boucle_never_answers_5xx(both: Both) -> None:
    bad = [
        f"{scene}/{step}: {json.dumps(answer)[:200]}"
        for scene, steps in both.boucle.items()
        for step, answer in steps.items()
        if isinstance(answer, dict) and _is_of_server(scene, answer) and answer["status"] >= 500
    ]
    assert not bad, "\n".join(bad)


def _is_of_server(scene: str, answer: dict[str, Any]) -> bool:
    """The client raises errors of its own, with status 500; 501 says what is not there by design."""
    return answer.get("status") != 501 and (scene == "raw" or answer.get("raised") in ("RestException", "HTTPError"))
