"""From the tables of routes to the route that answers a request.

RSGI hands paths over decoded, so nobody here decodes them again. `%2F` is a slash like any other, and what a policy is
looked up for is what the handler gets.
"""

import re
from collections.abc import Iterable, Sequence
from inspect import iscoroutinefunction
from typing import Final, NamedTuple

from boucle.identity.api import check_table
from boucle.identity.http import BadPath, NoRoute, Route, Surface, WrongMethod

_PROJECT: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}")
_MOST_KNOWN: Final = 1024
_LONGEST_KNOWN: Final = 200
_UNREADABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufffd]")
"""U+FFFD stands where bytes were that are not UTF-8."""


class Door(NamedTuple):
    """A route of a surface."""

    route: Route
    surface: Surface
    is_async: bool


class Match(NamedTuple):
    """The door for a request, and what its path says beyond that."""

    door: Door
    values: dict[str, str]
    project: str | None
    path: str
    """Without the project."""


class _Node:
    """What may follow a beginning of a path."""

    __slots__ = ("any", "doors", "folded", "folded_verbs", "literal", "rest", "surface", "verbs")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.folded: dict[str, _Node] = {}
        """By the segment in lower case, where a surface takes its paths in any case."""
        self.verbs: dict[str, _Node] = {}
        """What may follow a segment `{name}:verb`, by the verb."""
        self.folded_verbs: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.rest: dict[str, tuple[Door, tuple[str, ...]]] = {}
        self.doors: dict[str, tuple[Door, tuple[str, ...]]] = {}
        """By method: the door of the path that ends here, and the names of what stands for `{name}`."""
        self.surface: Surface | None = None


class Router:
    """Finds doors. The tables are checked when the router is made: a route without a policy is a ValueError."""

    def __init__(self, surfaces: Sequence[Surface]) -> None:
        self.surfaces: Final = list(surfaces)
        self._root = _Node()
        self._plain: dict[str, dict[str, Door]] = {}
        """Paths without `{name}`, whole: most requests cost one look-up."""
        self._known: dict[tuple[str, str], Match] = {}
        """What was found lately, whole: predictions ask one path again and again."""
        check_table([route for surface in surfaces for route in _placed(surface)])
        for surface in surfaces:
            for prefix in (*surface.prefixes, *surface.claims, *(route.path for route in surface.outer)):
                self._node(prefix).surface = surface
            for route in _placed(surface):
                self._place(route, surface)
                if surface.ignore_case:
                    self._fold(route.path)
        if self._root.surface is None:
            raise ValueError("no surface has the prefix '', which answers for unknown paths")

    def find(self, method: str, path: str) -> Match:
        """The door for a method and a path; `HEAD` is answered as `GET`.

        NoRoute or WrongMethod if there is none, BadPath for what no path may be. The values are not to be changed.
        """
        known = self._known.get((method, path))
        if known is not None:
            return known
        found = self._found(method, path)
        if len(path) <= _LONGEST_KNOWN:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[method, path] = found
        return found

    def _found(self, method: str, path: str) -> Match:
        project: str | None = None
        if path.startswith("/p/"):
            project, path = _project(path)
        asked = "GET" if method == "HEAD" else method
        plain = self._plain.get(path)
        if plain is not None and (door := plain.get(asked)) is not None:
            return Match(door, {}, project, path)
        segments = _segments(path)
        allowed: dict[str, None] = {}
        found = _walk(self._root, segments, 1, (), asked, allowed) if segments[0] == "" else None
        if found is None:
            if allowed:
                raise WrongMethod(method, path[:200], list(allowed))
            raise NoRoute(f"no route {path[:200]!r}")
        door, values = found
        return Match(door, values, project, path)

    def surface_of(self, path: str) -> Surface:
        """Whose error tells that something is wrong with a request for this path."""
        if path.startswith("/p/"):  # whatever stands for the project; slashes in it leave empty segments behind
            path = "/" + path[3:].partition("/")[2].lstrip("/")
        segments = path.split("/")
        node, surface = self._root, self._root.surface
        for segment in segments[1:]:
            if (below := _literal(node, segment)) is None:
                break
            node, surface = below, below.surface or surface
        assert surface is not None
        return surface

    def _node(self, path: str) -> _Node:
        node = self._root
        for segment in path.split("/")[1:]:
            if not segment.startswith("{"):
                node = node.literal.setdefault(segment, _Node())
            elif segment.endswith("}"):
                node.any = node.any or _Node()
                node = node.any
            else:
                node = node.verbs.setdefault(segment.rpartition(":")[2], _Node())
        return node

    def _fold(self, path: str) -> None:
        """Find a path's literal segments in any case, too."""
        node = self._root
        for segment in path.split("/")[1:]:
            if not segment.startswith("{"):
                below = node.folded[segment.lower()] = node.literal[segment]
            elif segment.endswith("}"):
                assert node.any is not None
                below = node.any
            else:
                verb = segment.rpartition(":")[2]
                below = node.folded_verbs[verb.lower()] = node.verbs[verb]
            node = below

    def _place(self, route: Route, surface: Surface) -> None:
        door = Door(route, surface, iscoroutinefunction(route.handler))
        names = tuple(
            one[1:].partition("}")[0].removesuffix("...") for one in route.path.split("/") if one.startswith("{")
        )
        if route.path.endswith("...}"):
            self._node(route.path.rpartition("/")[0]).rest[route.method] = (door, names)
        else:
            self._node(route.path).doors[route.method] = (door, names)
            if not names:
                self._plain.setdefault(route.path, {})[route.method] = door


def _placed(surface: Surface) -> Iterable[Route]:
    """The surface's routes at each of their places."""
    for prefix in surface.prefixes:
        for one in surface.routes:
            yield Route(one.method, prefix + one.path, one.policy, one.handler, one.quick)
    yield from surface.outer


def _walk(
    node: _Node, segments: list[str], at: int, values: tuple[str, ...], method: str, allowed: dict[str, None]
) -> tuple[Door, dict[str, str]] | None:
    """The door for the segments from `at` on.

    A literal segment goes before `{name}:verb`, which leaves nothing for `{name}`, and that before `{name...}`.
    """
    if at == len(segments):
        return _door(node.doors, values, method, allowed)
    segment = segments[at]
    below = _literal(node, segment)
    if below is not None and (found := _walk(below, segments, at + 1, values, method, allowed)):
        return found
    if node.verbs and (verb := _verb(node, segment)):
        found = _walk(verb[1], segments, at + 1, (*values, verb[0]), method, allowed)
        if found and verb[0] in (".", ".."):
            raise BadPath(f"the path has the segment {segment[:200]!r}; allowed is any other name")
        return found
    if (
        node.any is not None
        and segment
        and (found := _walk(node.any, segments, at + 1, (*values, segment), method, allowed))
    ):
        if segment in (".", ".."):
            raise BadPath(f"the path has the segment {segment!r}; allowed is any other name")
        return found
    if node.rest and segments[at:] != [""]:
        rest = "/".join(segments[at:])
        if found := _door(node.rest, (*values, rest), method, allowed):
            _check_rest(rest)
            return found
    return None


def _literal(node: _Node, segment: str) -> _Node | None:
    return node.literal.get(segment) or (node.folded.get(segment.lower()) if node.folded else None)


def _verb(node: _Node, segment: str) -> tuple[str, _Node] | None:
    """What stands for `{name}` in a segment `{name}:verb`, and what may follow."""
    name, colon, verb = segment.rpartition(":")
    below = node.verbs.get(verb) or node.folded_verbs.get(verb.lower())
    return (name, below) if colon and name and below is not None else None


def _door(
    doors: dict[str, tuple[Door, tuple[str, ...]]], values: tuple[str, ...], method: str, allowed: dict[str, None]
) -> tuple[Door, dict[str, str]] | None:
    found = doors.get(method)
    if found is None:
        allowed.update(dict.fromkeys(doors))
        return None
    return found[0], dict(zip(found[1], values, strict=True))


def _check_rest(rest: str) -> None:
    if "\\" in rest or any(segment in ("", ".", "..") for segment in rest.split("/")):
        raise BadPath(f"the path {rest[:200]!r} is not plain; allowed are names between single slashes, no '.' or '..'")


def _segments(path: str) -> list[str]:
    """A path's segments; BadPath if it has control characters, or was not UTF-8 before it was decoded."""
    if _UNREADABLE.search(path):
        raise BadPath(f"the path {path[:200]!r} has control characters, or is not UTF-8 when it is decoded")
    return path.split("/")


def _project(path: str) -> tuple[str, str]:
    """The project that a path begins with, and the path in it.

    >>> _project("/p/flights/api/2.0/x"), _project("/p/flights")
    (('flights', '/api/2.0/x'), ('flights', '/'))
    """
    name, slash, rest = path[3:].partition("/")
    if not _PROJECT.fullmatch(name):
        raise BadPath(
            f"{name[:120]!r} in the path is no name of a project; allowed are a letter or digit, then at "
            "most 99 letters, digits, dots, dashes and underscores"
        )
    return name, slash + rest or "/"
