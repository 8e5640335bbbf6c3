"""From a table of routes to the route that answers."""

import pytest

from boucle.app.router import Router, WrongMethod
from boucle.app.worker import Handlers, routes
from boucle.identity.api import Route
from boucle.kernel.errors import NotFound


def handler() -> str:
    return "answer"


ROUTER = Router(
    [
        Route("GET", "/v2", "public", handler),
        Route("GET", "/v2/models/{model}", "predict", handler),
        Route("POST", "/v2/models/{model}/infer", "predict", handler),
        Route("GET", "/v2/health/live", "public", handler),
    ]
)


def test_the_shape_of_a_path_finds_its_route() -> None:
    assert ROUTER.find("GET", "/v2").route.path == "/v2"
    assert ROUTER.find("POST", "/v2/models/flights/infer").values == {"model": "flights"}
    assert ROUTER.find("HEAD", "/v2/health/live").route.path == "/v2/health/live"


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v2/", "/v2/models/", "/v2/models/a/b", "/v2/models//infer", "v2"])
def test_other_paths_are_not_found(path: str) -> None:
    with pytest.raises(NotFound, match="no route"):
        ROUTER.find("GET", path)


def test_a_known_path_tells_its_methods() -> None:
    with pytest.raises(WrongMethod, match="does not answer DELETE; allowed are POST") as told:
        ROUTER.find("DELETE", "/v2/models/flights/infer")
    assert (told.value.status, told.value.allowed) == (405, ["POST"])


def test_a_route_without_a_policy_stops_the_server_from_starting() -> None:
    with pytest.raises(ValueError, match="has the policy 'open'"):
        Router([Route("GET", "/v2", "open", handler)])  # type: ignore[arg-type]


def test_every_door_of_the_data_plane_has_a_policy() -> None:
    table = routes(Handlers.__new__(Handlers))
    assert {route.path: route.policy for route in table if route.policy != "predict"} == {
        "/v2/health/live": "public",
        "/v2/health/ready": "public",
        "/metrics": "operate",
    }
    assert Router(table).routes == table
