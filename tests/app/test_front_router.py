"""From a table of routes to the route that answers, however the path is spelt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.app.router import Router
from boucle.app.worker import surfaces
from boucle.identity.http import BadPath, NoRoute, Response, Route, Surface, WrongMethod
from boucle.kernel.errors import BoucleError
from boucle.serving.endpoints import Endpoints


def handler() -> str:
    return "answer"


def refuse(error: BoucleError) -> Response:
    return Response(error.status)


def surface(*table: tuple[str, str], prefixes: tuple[str, ...] = ("",), claims: tuple[str, ...] = ()) -> Surface:
    made = [Route(method, path, "read", handler) for method, path in table]
    return Surface(routes=made, refuse=refuse, prefixes=prefixes, claims=claims)


PLAIN = surface(("GET", "/v2"), ("GET", "/v2/models/{model}"), ("POST", "/v2/models/{model}/infer"), ("GET", "/health"))
FLOW = surface(
    ("POST", "/mlflow/models/search"),
    ("GET", "/mlflow/models/{id}"),
    ("DELETE", "/mlflow/models/{id}/tags/{key}"),
    ("PUT", "/artifacts/{path...}"),
    ("GET", "/artifacts/{path...}"),
    ("GET", "/artifacts"),
    prefixes=("/api/2.0", "/ajax-api/2.0"),
    claims=("/api/3.0", "/version"),
)
ROUTER = Router([PLAIN, FLOW])


def test_the_shape_of_a_path_finds_its_route() -> None:
    assert ROUTER.find("GET", "/v2").door.route.path == "/v2"
    assert ROUTER.find("POST", "/v2/models/flights/infer").values == {"model": "flights"}
    assert ROUTER.find("HEAD", "/health").door.route.path == "/health"
    found = ROUTER.find("DELETE", "/ajax-api/2.0/mlflow/models/m-1/tags/a.b")
    assert found.values == {"id": "m-1", "key": "a.b"}
    assert found.door.surface is FLOW


def test_a_literal_segment_goes_before_a_name_and_both_keep_their_methods() -> None:
    assert ROUTER.find("POST", "/api/2.0/mlflow/models/search").values == {}
    assert ROUTER.find("GET", "/api/2.0/mlflow/models/search").values == {"id": "search"}
    with pytest.raises(WrongMethod) as told:
        ROUTER.find("PUT", "/api/2.0/mlflow/models/search")
    assert told.value.allowed == ["POST", "GET"]


def test_the_rest_of_a_path_is_one_value() -> None:
    assert ROUTER.find("PUT", "/api/2.0/artifacts/0/run/a.txt").values == {"path": "0/run/a.txt"}
    assert ROUTER.find("GET", "/api/2.0/artifacts").values == {}


def test_a_segment_may_end_in_a_verb() -> None:
    router = Router([surface(("POST", "/v1/{m}:ask"), ("POST", "/v1/{m}/{v}:ask"), ("GET", "/v1/{m}")), PLAIN])
    assert router.find("POST", "/v1/a:b:ask").values == {"m": "a:b"}
    assert router.find("POST", "/v1/a/7:ask").values == {"m": "a", "v": "7"}
    assert router.find("GET", "/v1/a:tell").values == {"m": "a:tell"}
    with pytest.raises(WrongMethod) as told:
        router.find("GET", "/v1/a:ask")
    assert told.value.allowed == ["POST"]
    for path in ("/v1/:ask", "/v1/a:ASK", "/v1/a/b", "/v1/a:ask/b"):
        with pytest.raises((NoRoute, WrongMethod)):
            router.find("POST", path)
    for path in ("/v1/..:ask", "/v1/.:ask", "/v1/a/..:ask"):
        with pytest.raises(BadPath):
            router.find("POST", path)


def test_a_surface_may_take_its_paths_in_any_case() -> None:
    loud = Surface(
        routes=[Route("POST", "/models/{m}:ask", "read", handler), Route("GET", "/models/{m}", "read", handler)],
        prefixes=("/v1",),
        refuse=refuse,
        ignore_case=True,
    )
    router = Router([loud, PLAIN])
    assert router.find("POST", "/V1/Models/Flights:ASK").values == {"m": "Flights"}
    assert router.find("GET", "/v1/MODELS/Flights").values == {"m": "Flights"}
    assert router.surface_of("/V1/nothing") is loud
    for path in ("/V2", "/v1/models/", "/v1/models/:ask/:ask"):
        with pytest.raises(NoRoute):
            router.find("GET", path)


def test_a_path_that_is_decoded_is_not_decoded_again() -> None:
    assert ROUTER.find("GET", "/v2/models/a b é").values == {"model": "a b é"}
    assert ROUTER.find("GET", "/v2/models/%2e%2e").values == {"model": "%2e%2e"}
    assert ROUTER.find("PUT", "/api/2.0/artifacts/%2e%2e/c+d").values == {"path": "%2e%2e/c+d"}


@pytest.mark.parametrize(
    "path",
    ["", "/", "*", "v2", "/v1", "/v2/", "//v2", "/v2/models/", "/v2/models/a/b", "/v2/models//infer",
     "/api/2.0", "/api/2.0/", "/api/2.0/artifacts/", "//api/2.0/artifacts/x", "/version", "/p/x/p/y/health", "/V2",
     "/health;x", "/p"],
)  # fmt: skip
def test_other_paths_are_not_found(path: str) -> None:
    with pytest.raises(NoRoute, match="no route"):
        ROUTER.find("GET", path)


@pytest.mark.parametrize(
    "path",
    ["/v2/models/\ufffd", "/v2/models/a\0b", "/v2/models/a\n", "/v2/models/\x85", "/v2/models/..", "/v2/models/.",
     "/api/2.0/artifacts/../x", "/api/2.0/artifacts/a/../b", "/api/2.0/artifacts/a//b", "/api/2.0/artifacts/a/",
     "/api/2.0/artifacts//etc", "/api/2.0/artifacts/a\\b", "/api/2.0/artifacts/./a", "/p//health", "/p/..//health",
     "/p/../health", "/p/a b/health", "/p/-x/health", f"/p/{'x' * 101}/health", "/p/\ufffd/health", "/p/a%2fb/health"],
)  # fmt: skip
def test_what_no_path_may_be_is_said(path: str) -> None:
    with pytest.raises(BadPath):
        ROUTER.find("GET", path)


def test_a_path_may_begin_with_its_project() -> None:
    for name in ("flights", "a", "1.2_x-y", "x" * 100, "p"):
        found = ROUTER.find("GET", f"/p/{name}/api/2.0/artifacts/x")
        assert (found.project, found.path) == (name, "/api/2.0/artifacts/x")
    assert ROUTER.find("GET", "/health").project is None


def test_every_path_has_the_surface_that_tells_its_errors() -> None:
    for path in ("/api/2.0", "/api/2.0/x", "/ajax-api/2.0/artifacts/../x", "/api/3.0/mlflow/traces", "/version",
                 "/p/x/api/2.0/y", "/p/../api/2.0/y",
                 "/p/..//api/2.0/y", "/api/2.0/\ufffd", "/p/x/api/2.0/\0"):  # fmt: skip
        assert ROUTER.surface_of(path) is FLOW, path
    for path in ("", "*", "/", "/api", "/api/2.00", "//api/2.0/x", "/p", "/p/x", "/p/../", "/versions", "/\ufffd"):
        assert ROUTER.surface_of(path) is PLAIN, path


def test_a_known_path_tells_its_methods() -> None:
    with pytest.raises(WrongMethod, match="does not answer DELETE; allowed are POST") as told:
        ROUTER.find("DELETE", "/v2/models/flights/infer")
    assert (told.value.status, told.value.allowed) == (405, ["POST"])


def test_a_route_without_a_policy_stops_the_server_from_starting() -> None:
    table = [Route("GET", "/v2", "open", handler)]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has the policy 'open'"):
        Router([Surface(routes=table, refuse=refuse)])


def test_surfaces_that_clash_or_leave_paths_unanswered_stop_the_server_from_starting() -> None:
    with pytest.raises(ValueError, match="clashes with GET /v2"):
        Router([PLAIN, surface(("GET", "/{name}"), ("GET", "/{other}"), prefixes=("/v2",)), surface(("GET", "/v2"))])
    with pytest.raises(ValueError, match="no surface has the prefix ''"):
        Router([FLOW])


@given(st.lists(st.sampled_from(["/", ".", "..", "%2e", "\\", "%", "a", "p", "api", "2.0", "artifacts", "\0", "é"])))
def test_no_spelling_brings_a_rest_that_is_not_plain(pieces: list[str]) -> None:
    for prefix in ("", "/api/2.0/artifacts/", "/p/x/api/2.0/artifacts/"):
        try:
            rest = ROUTER.find("GET", prefix + "".join(pieces)).values.get("path")
        except (NoRoute, WrongMethod, BadPath):
            continue
        if rest is not None:
            assert not {"", ".", ".."} & set(rest.split("/"))
            assert not set(rest) & set("\\\0")


def test_every_door_of_the_data_plane_has_a_policy() -> None:
    table = [route for surface in surfaces(Endpoints([])) for route in (*surface.routes, *surface.outer)]
    assert {route.path: route.policy for route in table if route.policy != "predict"} == {
        "/v2/health/live": "public",
        "/v2/health/ready": "public",
        "/ping": "public",
        "/health": "public",
        "/{endpoint}/deployedModels/{deployed}": "public",
        "/{endpoint}/deployedModels/{deployed}:predict": "public",
        "/v2/repository/models/{model}/load": "write",
        "/v2/repository/models/{model}/unload": "write",
        "/models": "write",
        "/models/{model}": "write",
        "/metrics": "operate",
    }
    Router(surfaces(Endpoints([])))
