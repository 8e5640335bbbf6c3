"""Lineage in both directions: from data over runs, bundles and versions to aliases and deployments, and back."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec import Struct, field
from sqlalchemy import Connection

from boucle.data.api import get_version as get_dataset
from boucle.kernel.errors import BoucleError, InvalidInput, NotFound
from boucle.kernel.store import Store
from boucle.loop.run_facts import facts_of_run, source_of
from boucle.models import commands
from boucle.models import store as registry
from boucle.models.api import known_version
from boucle.models.origins import versions_from
from boucle.models.records import ModelVersion
from boucle.runs import origins
from boucle.runs.records import Run
from boucle.runs.store import find as find_run
from boucle.serving.api import endpoints, read_traffic
from boucle.serving.owner import owner
from boucle.serving.records import Deployment
from boucle.serving.rollout import deployments

_DIGEST: Final = re.compile("[0-9a-f]{64}")
MOST: Final = 1000
"""As many things are told of in one direction: each costs some milliseconds."""
_DEEPEST: Final = 12


class Thing(Struct, frozen=True):
    """One thing that lineage knows; kind and name say which."""

    kind: str
    name: str


class Branch(Struct, frozen=True, kw_only=True):
    """A thing, with what is behind it in one direction."""

    kind: str
    name: str
    facts: dict[str, str] = field(default_factory=dict)
    branches: list["Branch"] = field(default_factory=list)
    repeated: bool = False
    """Whether it is shown with its own branches elsewhere."""
    is_cut: bool = False
    """Whether its own branches are left out, as it is so far away: ask for it itself."""
    more: int = 0
    """How many of its branches are left out, as there are so many things."""


class Ancestry(Struct, frozen=True, kw_only=True):
    """Where a thing came from, and what came of it."""

    kind: str
    name: str
    facts: dict[str, str]
    made_from: list[Branch]
    led_to: list[Branch]
    more_made_from: int = 0
    more_led_to: int = 0
    """How many branches are left out, as there are so many things."""


def ancestry(store: Store, project_id: str, what: str) -> Ancestry:
    """The lineage of a run id, `model/3`, `model@champion`, a digest, the name of data, or an endpoint.

    NotFound if nothing is called so.
    """

    def query(conn: Connection) -> Ancestry:
        graph = _Graph(store, conn, project_id)
        start = graph.resolve(what)
        made_from, more_made_from = _Walk(start, graph.before, graph.facts).below(start)
        led_to, more_led_to = _Walk(start, graph.after, graph.facts).below(start)
        return Ancestry(
            kind=start.kind,
            name=start.name,
            facts=graph.facts(start),
            made_from=made_from,
            led_to=led_to,
            more_made_from=more_made_from,
            more_led_to=more_led_to,
        )

    return store.read(query)


def left_out(found: Ancestry) -> Iterator[str]:
    """What a lineage does not tell, as there is so much of it: where it goes on, and how many things are missing."""

    def below(name: str, branches: Sequence[Branch], more: int) -> Iterator[str]:
        if more:
            yield f"{more:,} more at {name}"
        for one in branches:
            if one.is_cut:
                yield f"what is behind {one.kind} {one.name}"
            yield from below(f"{one.kind} {one.name}", one.branches, one.more)

    yield from below(f"{found.kind} {found.name}", found.made_from, found.more_made_from)
    yield from below(f"{found.kind} {found.name}", found.led_to, found.more_led_to)


class _Walk:
    """Goes from a thing in one direction, to things that it has not met yet, so far and to so many."""

    def __init__(
        self, start: Thing, step: Callable[[Thing], Sequence[Thing]], facts: Callable[[Thing], dict[str, str]]
    ) -> None:
        self._step = step
        self._facts = facts
        self._seen = {start}
        self._left = MOST

    def below(self, of: Thing, depth: int = 0) -> tuple[list[Branch], int]:
        """The branches of a thing, and how many more there are."""
        things = list(dict.fromkeys(self._step(of)))
        found: list[Branch] = []
        for one in things:
            if self._left == 0:
                break
            self._left -= 1
            repeated = one in self._seen
            is_cut = not repeated and depth >= _DEEPEST
            if not is_cut:
                self._seen.add(one)
            branches, more = ([], 0) if repeated or is_cut else self.below(one, depth + 1)
            found.append(
                Branch(
                    kind=one.kind,
                    name=one.name,
                    facts=self._facts(one),
                    branches=branches,
                    repeated=repeated,
                    is_cut=is_cut,
                    more=more,
                )
            )
        return found, len(things) - len(found)


class _Graph:
    """The edges, asked of the rooms that own them."""

    def __init__(self, store: Store, conn: Connection, project_id: str) -> None:
        self._store = store
        self._conn = conn
        self._project = project_id
        self._runs: dict[str, Run | None] = {}

    def resolve(self, what: str) -> Thing:
        """What a person's word stands for. Data may be called as a version or an alias is written."""
        try:
            return self._version_or_alias(what) or self._other(what)
        except NotFound:
            if (data := self._data_named(what)) is not None:
                return data
            raise

    def _version_or_alias(self, what: str) -> Thing | None:
        model, slash, number = what.rpartition("/")
        if slash and number.isascii() and number.isdecimal() and len(number) < 10:
            version = known_version(self._conn, self._project, model, int(number))
            return Thing("version", f"{version.model}/{version.number}")
        model, at, alias = what.rpartition("@")
        if at and model:
            move = registry.newest_move(self._conn, self._project, model, alias)
            if move is None or move.number is None:
                raise NotFound(f"model {model!r} has no alias {alias!r}", hint=commands.listed(self._project))
            return Thing("alias", what)
        return None

    def _other(self, what: str) -> Thing:
        if self._run(what) is not None:
            return Thing("run", what)
        if what.startswith("m-") and origins.is_model(self._conn, self._project, what):
            return Thing("logged model", what)
        if _DIGEST.fullmatch(what):
            if origins.runs_of_bundle(self._conn, self._project, what) or self._versions("bundle_digest", what):
                return Thing("bundle", what)
            if origins.runs_of_data(self._conn, self._project, what):
                return Thing("data", what)
        if what in endpoints(self._store.home) and self._deployed(what):
            return Thing("deployment", what)
        raise NotFound(
            f"nothing is called {what[:100]!r} in project {self._project!r}; known are ids of runs, model/number, "
            "model@alias, digests of 64 digits, names of data, endpoints",
            hint=commands.listed(self._project),
        )

    def _data_named(self, what: str) -> Thing | None:
        prints = origins.fingerprints_named(self._conn, self._project, what)
        if len(prints) == 1:
            return Thing("data", prints[0])
        if prints:
            raise InvalidInput(
                f"there are {len(prints)} states of the data {what!r}; name one by its digest",
                hint=f"boucle lineage {prints[-1]}",
                details={"digests": prints},
            )
        return None

    def before(self, of: Thing) -> list[Thing]:
        """What a thing was made from."""
        match of.kind:
            case "run":
                used = origins.data_of_run(self._conn, self._project, of.name)
                taken = origins.models_taken(self._conn, self._project, of.name)
                return [Thing("data", one.fingerprint) for one in used] + [Thing("logged model", one) for one in taken]
            case "bundle":
                made = origins.runs_of_bundle(self._conn, self._project, of.name)
                made = made or [one.run_id for one in self._versions("bundle_digest", of.name) if one.run_id]
                return [Thing("run", one) for one in made]
            case "logged model":
                return [Thing("run", one) for one in origins.runs_of_model(self._conn, self._project, of.name)]
            case "version":
                return self._before_version(self._version(of.name))
            case "alias":
                model, _, alias = of.name.rpartition("@")
                move = registry.newest_move(self._conn, self._project, model, alias)
                return [Thing("version", f"{model}/{move.number}")] if move and move.number is not None else []
            case "deployment":
                return [self._deployed_version(of.name, one) for one in self._deployed(of.name)]
        return []

    def after(self, of: Thing) -> list[Thing]:
        """What came of a thing."""
        match of.kind:
            case "data":
                return [Thing("run", one) for one in origins.runs_of_data(self._conn, self._project, of.name)]
            case "run":
                return self._after_run(of.name)
            case "bundle":
                return [_named(one) for one in self._versions("bundle_digest", of.name)]
            case "logged model":
                taken = origins.runs_that_took(self._conn, self._project, of.name)
                return [_named(one) for one in self._versions("model_id", of.name)] + [
                    Thing("run", one) for one in taken
                ]
            case "version":
                version = self._version(of.name)
                aliases = registry.aliases_of(self._conn, self._project, [version.model]).get(version.model, {})
                found = [
                    Thing("alias", f"{version.model}@{name}")
                    for name, number in sorted(aliases.items())
                    if number == version.number
                ]
                return found + [Thing("deployment", one) for one in self._endpoints(version)]
            case "alias":  # what answers with the version that it names
                return [
                    Thing("deployment", one)
                    for version in self.before(of)
                    for one in self._endpoints(self._version(version.name))
                ]
        return []

    def facts(self, of: Thing) -> dict[str, str]:
        """A few words about a thing."""
        match of.kind:
            case "data":
                return self._facts_of_data(of.name)
            case "run":
                run = self._run(of.name)
                return {} if run is None else facts_of_run(self._store, self._conn, run)
            case "version":
                version = self._version(of.name)
                return {"by": version.author.removeprefix("person:"), "note": version.note}
        return {}

    def _facts_of_data(self, fingerprint: str) -> dict[str, str]:
        for run in origins.runs_of_data(self._conn, self._project, fingerprint)[:1]:
            for one in origins.data_of_run(self._conn, self._project, run):
                if one.fingerprint == fingerprint and one.name:
                    return {"name": one.name, "source": source_of(one.source)}
        try:
            dataset = get_dataset(self._store, fingerprint)  # type: ignore[arg-type]  # 64 digits
        except BoucleError:
            return {}
        return {"rows": f"{dataset.rows:,}", "columns": str(len(dataset.columns))}

    def _before_version(self, version: ModelVersion) -> list[Thing]:
        if version.model_id:
            return [Thing("logged model", version.model_id)]
        return [Thing("bundle", version.bundle_digest)]

    def _after_run(self, run_id: str) -> list[Thing]:
        run = self._run(run_id)
        given = [Thing("bundle", run.bundle_digest)] if run is not None and run.bundle_digest else []
        models = origins.models_of_run(self._conn, self._project, run_id)
        given += [Thing("logged model", one) for one in models]
        known = {run.bundle_digest if run is not None else None}
        for version in self._versions("run_id", run_id):
            if version.model_id not in models and version.bundle_digest not in known:
                given.append(Thing("bundle", version.bundle_digest))
        return given

    def _run(self, run_id: str) -> Run | None:
        """A run of this project."""
        if run_id not in self._runs:
            run = find_run(self._conn, run_id)
            self._runs[run_id] = run if run is not None and run.project_id == self._project else None
        return self._runs[run_id]

    def _versions(self, kind: str, value: str) -> list[ModelVersion]:
        return versions_from(self._conn, self._project, kind, value)  # type: ignore[arg-type]  # names of columns

    def _version(self, name: str) -> ModelVersion:
        model, _, number = name.rpartition("/")
        return known_version(self._conn, self._project, model, int(number))

    def _endpoints(self, version: ModelVersion) -> list[str]:
        named = _named(version)
        return [
            name
            for name in endpoints(self._store.home)
            if named in [self._deployed_version(name, one) for one in self._deployed(name)]
        ]

    def _deployed(self, endpoint: str) -> list[Deployment]:
        """Champion, canary and shadow; none of another project's endpoint."""
        traffic = read_traffic(self._store.home, endpoint)
        return deployments(traffic) if owner(self._conn, traffic) in (None, self._project) else []

    def _deployed_version(self, endpoint: str, one: Deployment) -> Thing:
        """The version that a deployment is of; its bundle, if that version is no more."""
        for version in self._versions("bundle_digest", one.bundle_digest):
            if (version.model, version.number) == (one.model or endpoint, one.number):
                return _named(version)
        return Thing("bundle", one.bundle_digest)


def _named(version: ModelVersion) -> Thing:
    return Thing("version", f"{version.model}/{version.number}")
