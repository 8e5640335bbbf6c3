"""From a table of routes to the route that answers a request."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from boucle.identity.api import Route, check_table
from boucle.kernel.errors import NotFound


class WrongMethod(NotFound):
    """The path exists, for other methods."""

    status = 405

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{path} does not answer {method[:20]}; allowed are {', '.join(allowed)}")
        self.allowed = list(allowed)


class Match(NamedTuple):
    """The route for a request and the values of its path's `{name}` segments."""

    route: Route
    values: dict[str, str]


class Router:
    """Finds routes. The table is checked when the router is made: a route without a policy is a ValueError."""

    def __init__(self, routes: Sequence[Route]) -> None:
        check_table(routes)
        self.routes: Final = list(routes)
        self._by_length: dict[int, list[tuple[tuple[str, ...], Route]]] = {}
        for route in routes:
            segments = tuple(route.path.split("/"))
            self._by_length.setdefault(len(segments), []).append((segments, route))

    def find(self, method: str, path: str) -> Match:
        """The route for a method and a path; `HEAD` is answered as `GET`. NotFound or WrongMethod if there is none."""
        segments = path.split("/")
        allowed: list[str] = []
        for shape, route in self._by_length.get(len(segments), ()):
            values = _values(shape, segments)
            if values is None:
                continue
            if route.method == ("GET" if method == "HEAD" else method):
                return Match(route, values)
            allowed.append(route.method)
        if allowed:
            raise WrongMethod(method, path[:200], allowed)
        raise NotFound(f"no route {path[:200]!r}")


def _values(shape: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    """The values of `{name}` segments if a path has this shape.

    >>> _values(["", "models", "{model}"], ["", "models", "flights"])
    {'model': 'flights'}
    """
    values = {}
    for wanted, found in zip(shape, segments, strict=True):
        if wanted.startswith("{"):
            if not found:
                return None
            values[wanted.strip("{}")] = found
        elif wanted != found:
            return None
    return values
