"""The registry: models, versions, tags, aliases and their history.

What moves a pointer or takes something away is `boucle.governance.api`'s.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection

from boucle.kernel import audit
from boucle.kernel.clock import to_ms
from boucle.kernel.digests import Digest, digest_bytes, short
from boucle.kernel.errors import Conflict, InvalidInput, NotFound
from boucle.kernel.points import reach
from boucle.kernel.store import Store
from boucle.models import commands, events, names
from boucle.models import store as tables
from boucle.models.records import AliasMove, ModelFacts, ModelVersion, RegisteredModel, VersionFacts
from boucle.runs.limits import check_count

__all__ = [
    "alias",
    "came_from",
    "create_model",
    "create_version",
    "describe_model",
    "describe_version",
    "ever_pointed_at",
    "first_project_of",
    "get_kept",
    "get_model",
    "get_version",
    "history",
    "list_models",
    "list_versions",
    "model_facts",
    "moment_of",
    "register",
    "tag_model",
    "tag_version",
    "version_at",
    "version_facts",
    "version_then",
]

_SHOWN: Final = 200


def came_from(conn: Connection) -> set[str]:
    """The ids of the runs and logged models that versions of any project were made of: part of their history."""
    return tables.origins(conn)


def create_model(
    store: Store,
    *,
    project_id: str,
    name: str,
    author: str,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> RegisteredModel:
    """Make a model without versions. Conflict if there is one of that name.

    The name of one that was deleted may be used again: its numbers go on, and its policy is still there.
    """
    names.check_new_model(name)
    check_count(len(tags or {}), "tags")
    for key, value in (tags or {}).items():
        names.check_tag(key, value)
    at = store.clock.now()

    def unit(conn: Connection) -> RegisteredModel:
        if tables.find_model(conn, project_id, name) is not None:
            raise Conflict(f"Registered Model (name={name}) already exists.")
        _begin_model(conn, project_id, name, author, description, at)
        tables.set_model_tags(conn, project_id, name, tags or {})
        return known_model(conn, project_id, name)

    return store.write(unit)


def create_version(
    store: Store,
    *,
    project_id: str,
    model: str,
    bundle_digest: Digest,
    author: str,
    source: str | None,
    run_id: str = "",
    model_id: str | None = None,
    run_link: str | None = None,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    of: ModelVersion | None = None,
) -> ModelVersion:
    """Give a tree of files the next number, also if it has one already. NotFound if there is no such model.

    `of` is the version that this one copies: with the same files come the same dataset and evaluation.
    """
    check_count(len(tags or {}), "tags")
    for key, value in (tags or {}).items():
        names.check_tag(key, value)
    at = store.clock.now()
    same = of is not None and of.bundle_digest == bundle_digest

    def unit(conn: Connection) -> ModelVersion:
        known_model(conn, project_id, model)
        version = ModelVersion(
            project_id=project_id,
            model=model,
            number=tables.next_number(conn, project_id, model),
            bundle_digest=bundle_digest,
            dataset_digest=of.dataset_digest if of is not None and same else None,
            evaluation_digest=of.evaluation_digest if of is not None and same else None,
            run_id=run_id,
            author=author,
            created_at=at,
            note="registered by a client",
            source=source,
            model_id=model_id,
            run_link=run_link,
            description=description,
            updated_ms=to_ms(at),
        )
        tables.add_version(conn, version)
        tables.set_version_tags(conn, project_id, model, version.number, tags or {})
        tables.touch_model(conn, project_id, model, to_ms(at))
        _tell_registered(conn, version)
        events.version_made(conn, version, tags or {})
        return version

    return store.write(unit)


def register(
    store: Store,
    *,
    project_id: str,
    model: str,
    bundle_digest: Digest,
    dataset_digest: Digest,
    evaluation_digest: Digest,
    run_id: str,
    author: str,
    note: str,
) -> ModelVersion:
    """Give a bundle the next number. The same bundle with the same evaluation again is the same version.

    NotFound if the bundle, the dataset or the evaluation is not kept in the blob store.
    """
    for what, digest in (("bundle", bundle_digest), ("dataset", dataset_digest), ("evaluation", evaluation_digest)):
        if not store.blobs.has(digest):
            raise NotFound(f"cannot register a version of {model!r}: its {what} {short(digest)} is not in the store")

    def unit(conn: Connection) -> ModelVersion:
        same = tables.find_same(conn, project_id, model, bundle_digest, evaluation_digest)
        if same is not None:
            return same
        at = store.clock.now()
        if tables.find_model(conn, project_id, model) is None:
            _begin_model(conn, project_id, model, author, None, at)
        version = ModelVersion(
            project_id=project_id,
            model=model,
            number=tables.next_number(conn, project_id, model),
            bundle_digest=bundle_digest,
            dataset_digest=dataset_digest,
            evaluation_digest=evaluation_digest,
            run_id=run_id,
            author=author,
            created_at=at,
            note=note,
            updated_ms=to_ms(at),
        )
        tables.add_version(conn, version)
        tables.touch_model(conn, project_id, model, to_ms(at))
        _tell_registered(conn, version)
        events.version_made(conn, version, {})
        return version

    reach("version.known")
    version = store.write(unit)
    reach("version.registered")
    return version


def known_model(conn: Connection, project_id: str, name: str) -> RegisteredModel:
    """One model; NotFound if there is none of that name."""
    names.check_model(name)
    model = tables.find_model(conn, project_id, name)
    if model is None:
        raise _unknown(conn, project_id, name)
    return model


def _unknown(conn: Connection, project_id: str, name: str) -> NotFound:
    later = tables.renamed_to(conn, project_id, name)
    return NotFound(
        f"Registered Model with name={name} not found",
        hint=commands.listed(project_id)
        if later is None
        else f"it is called {later} since: {commands.about('list', project_id, later)}",
    )


def known_version(conn: Connection, project_id: str, model: str, number: int) -> ModelVersion:
    """One version; NotFound tells of those that exist."""
    version = tables.find_version(conn, project_id, model, number)
    if version is None:
        last = tables.last_number(conn, project_id, model)
        known = f"numbers up to {last} were given" if last else "there are no versions yet"
        raise NotFound(
            f"no version {number} of model {model!r}; {known}",
            hint=commands.about("list", project_id, model) if last else commands.listed(project_id),
        )
    return version


def get_model(store: Store, project_id: str, name: str) -> RegisteredModel:
    """One model; NotFound if there is none of that name."""
    return store.read(lambda conn: known_model(conn, project_id, name))


def get_version(store: Store, project_id: str, model: str, number: int) -> ModelVersion:
    """One version; NotFound tells of those that exist."""
    return store.read(lambda conn: known_version(conn, project_id, model, number))


def get_kept(store: Store, project_id: str, model: str, number: int) -> ModelVersion:
    """One version, also one that was deleted: what it was made of is kept. NotFound if the number was never given."""
    kept = store.read(lambda conn: tables.find_kept(conn, project_id, model, number))
    return kept or get_version(store, project_id, model, number)


def first_project_of(conn: Connection, model: str, number: int, bundle_digest: Digest) -> str | None:
    """The project that first had this version of a model with this bundle, deleted ones too; None if none had."""
    return tables.first_project_of(conn, model, number, bundle_digest)


def list_models(store: Store, project_id: str) -> list[RegisteredModel]:
    """Every model, by name."""
    return store.read(lambda conn: tables.all_models(conn, project_id))


def list_versions(store: Store, project_id: str, model: str) -> list[ModelVersion]:
    """Every version, oldest first."""
    return store.read(lambda conn: tables.all_versions(conn, project_id, model))


def model_facts(conn: Connection, models: Sequence[RegisteredModel]) -> list[ModelFacts]:
    """Models with their tags, aliases and the newest version of each stage, in the given order."""
    if not models:
        return []
    project_id, found = models[0].project_id, [one.name for one in models]
    tags = tables.tags_of_models(conn, project_id, found)
    aliases = tables.aliases_of(conn, project_id, found)
    latest = tables.latest_of_stages(conn, project_id, found)
    facts = {
        (one.version.model, one.version.number): one
        for one in version_facts(conn, [version for name in found for version in latest[name]], aliases)
    }
    return [
        ModelFacts(
            model=one,
            tags=tags[one.name],
            aliases=aliases[one.name],
            latest=[facts[one.name, version.number] for version in latest[one.name]],
        )
        for one in models
    ]


def version_facts(
    conn: Connection, versions: Sequence[ModelVersion], aliases: Mapping[str, Mapping[str, int]] | None = None
) -> list[VersionFacts]:
    """Versions with their tags and aliases, in the given order."""
    if not versions:
        return []
    project_id = versions[0].project_id
    tags = tables.tags_of_versions(conn, project_id, versions)
    aliases = aliases or tables.aliases_of(conn, project_id, sorted({one.model for one in versions}))
    return [
        VersionFacts(
            version=one,
            tags=tags[one.model, one.number],
            aliases=[alias for alias, number in aliases[one.model].items() if number == one.number],
        )
        for one in versions
    ]


def describe_model(store: Store, project_id: str, name: str, description: str | None, *, actor: str) -> None:
    """Put another description on a model."""
    at = store.clock.now()

    def unit(conn: Connection) -> None:
        known_model(conn, project_id, name)
        tables.touch_model(conn, project_id, name, to_ms(at), description=description)
        details = _shortly("description", description)
        audit.append(
            conn, project_id=project_id, actor=actor, action="model.describe", subject=name, details=details, at=at
        )

    store.write(unit)


def describe_version(
    store: Store, project_id: str, model: str, number: int, description: str | None, *, actor: str
) -> None:
    """Put another description on a version."""
    at = store.clock.now()

    def unit(conn: Connection) -> None:
        version = known_version(conn, project_id, model, number)
        tables.change_version(conn, version, to_ms(at), description=description)
        details, subject = _shortly("description", description), f"{model}/{number}"
        audit.append(
            conn, project_id=project_id, actor=actor, action="version.describe", subject=subject, details=details, at=at
        )

    store.write(unit)


def tag_model(store: Store, project_id: str, name: str, key: str, value: str | None, *, actor: str) -> None:
    """Set a tag of a model; None takes it away, if it is there."""
    names.check_tag(key, value)
    at = store.clock.now()

    def unit(conn: Connection) -> None:
        known_model(conn, project_id, name)
        tables.set_model_tags(conn, project_id, name, {key: value})
        details = {"key": key, **_shortly("value", value)}
        audit.append(conn, project_id=project_id, actor=actor, action="model.tag", subject=name, details=details, at=at)
        events.model_tagged(conn, project_id, name, key, value, at)

    store.write(unit)


def tag_version(
    store: Store, project_id: str, model: str, number: int, key: str, value: str | None, *, actor: str
) -> None:
    """Set a tag of a version; None takes it away, if it is there."""
    names.check_tag(key, value)
    at = store.clock.now()

    def unit(conn: Connection) -> None:
        known_version(conn, project_id, model, number)
        tables.set_version_tags(conn, project_id, model, number, {key: value})
        details, subject = {"key": key, **_shortly("value", value)}, f"{model}/{number}"
        audit.append(
            conn, project_id=project_id, actor=actor, action="version.tag", subject=subject, details=details, at=at
        )
        events.version_tagged(conn, project_id, model, number, key, value, at)

    store.write(unit)


def alias(store: Store, project_id: str, model: str, alias: str) -> AliasMove | None:
    """Where an alias points: its newest move, or None if it points nowhere."""
    move = store.read(lambda conn: tables.newest_move(conn, project_id, model, alias))
    return None if move is None or move.number is None else move


def history(store: Store, project_id: str, model: str, alias: str) -> list[AliasMove]:
    """Every move of an alias in the order in which it was made, oldest first; those of a deleted model too.

    NotFound if no model of this name ever had the alias, and there is none now.
    """

    def look(conn: Connection) -> list[AliasMove]:
        moves = tables.all_moves(conn, project_id, model, alias)
        if not moves:
            known_model(conn, project_id, model)
        return moves

    return store.read(look)


def ever_pointed_at(conn: Connection, version: ModelVersion, alias: str) -> bool:
    """Whether an alias points, or pointed, at a version with this version's bundle; asked within a unit of work."""
    behind = tables.numbers_behind(conn, version.project_id, version.model, alias)
    return not behind.isdisjoint(tables.of_bundle(conn, version.project_id, version.model, version.bundle_digest))


def version_at(store: Store, project_id: str, model: str, alias: str, at: datetime) -> int | None:
    """The version that an alias stood for at an event time; None before its first move, or while it was taken away.

    Among the moves effective by then the one made last counts, so that history replayed again replaces what was
    known before.
    """
    move = store.read(lambda conn: tables.newest_move(conn, project_id, model, alias, effective_by=at))
    return None if move is None else move.number


def version_then(store: Store, project_id: str, model: str, alias: str, at: datetime) -> int:
    """As `version_at`; NotFound if there was none, or there is no such model."""
    number = version_at(store, project_id, model, alias, at)
    if number is not None:
        return number
    later = store.read(lambda conn: tables.renamed_to(conn, project_id, model))
    if later is not None:
        raise NotFound(
            f"no version of {model} was `{alias}` at {at.isoformat()}; a model of this name is called {later} since, "
            "and its history with it",
            hint=commands.about("history", project_id, later, alias=alias, at=at.isoformat()),
        )
    raise NotFound(
        f"no version was `{alias}` at {at.isoformat()}",
        hint=commands.about("history", project_id, model, alias=alias),
    )


def moment_of(text: str) -> datetime:
    """A moment that somebody wrote; UTC where it names no zone.

    >>> moment_of("2013-07-15").isoformat(), moment_of("2013-07-15T12:00-04:00").isoformat()
    ('2013-07-15T00:00:00+00:00', '2013-07-15T16:00:00+00:00')
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        allowed = "a date such as 2013-07-15, or a moment such as 2013-07-15T12:00:00Z"
        raise InvalidInput(
            f"`{text[:100]}` is no moment: write {allowed}", hint="boucle models history --help"
        ) from None


def _shortly(name: str, text: str | None) -> dict[str, object]:
    """A text as the audit log has it: a long one cut off, with the digest of all of it."""
    if text is None or len(text) <= _SHOWN:
        return {name: text}
    return {name: text[:_SHOWN], f"{name}_digest": digest_bytes(text.encode())}


def _begin_model(
    conn: Connection, project_id: str, name: str, author: str, description: str | None, at: datetime
) -> None:
    """Make the model, told to the audit log and to webhooks."""
    tables.add_model(conn, project_id, name, description, to_ms(at))
    audit.append(conn, project_id=project_id, actor=author, action="model.create", subject=name, details={}, at=at)
    events.model_made(conn, project_id, name, description, at)


def _tell_registered(conn: Connection, version: ModelVersion) -> None:
    """The audit record of a new version."""
    digests = {
        "bundle_digest": version.bundle_digest,
        "dataset_digest": version.dataset_digest,
        "evaluation_digest": version.evaluation_digest,
    }
    audit.append(
        conn,
        project_id=version.project_id,
        actor=version.author,
        action="model.register",
        subject=f"{version.model}/{version.number}",
        details={
            **{name: digest for name, digest in digests.items() if digest is not None},
            "run_id": version.run_id,
            "note": version.note,
            **({} if version.source is None else {"source": version.source}),
        },
        at=version.created_at,
    )
