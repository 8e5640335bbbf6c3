"""`boucle gc`"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import AsJson, session_of
from boucle.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from boucle.kernel.care.records import GcReport
    from boucle.kernel.progress import Progress
    from boucle.kernel.store import Store

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def gc(
    context: typer.Context,
    delete: Annotated[bool, typer.Option("--delete", help="Take it away; without this, only tell.")] = False,
    grace: Annotated[str, typer.Option(help="How long what nothing needs stays: 90m, 24h, 7d.")] = "24h",
    cache_days: Annotated[float, typer.Option(min=0, max=36_500, help="Days that a step's unused result stays.")] = 30,
    deleted_days: Annotated[
        float,
        typer.Option(min=0, max=36_500, help="Days that deleted runs, experiments and logged models can be restored."),
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Take away what nothing needs any more.

    Blobs that no row, kept result, endpoint or pin needs; unused results; what killed processes left; log segments
    that windows keep; what is older than `governance.keep_days`; and runs, experiments and logged models that were
    deleted long enough ago, unless a registered version came from them. Only tells what would go, unless --delete is
    given.

    \b
    Example:
      boucle gc
      boucle gc --delete --grace 7d
    """
    from boucle.kernel.care import gc as engine

    grace_s = parse_seconds(grace)
    session = session_of(context)
    project = session.project_file()
    keep_days = None if project is None else project.governance.keep_days
    engine.refuse_empty(session.stored_home())
    with session.store() as store:
        from boucle.app.console import console, print_json, progress

        with progress(session.color) as shown:
            report = collect(
                store,
                session.project_name() if project is None else project.project,
                keep_days=keep_days,
                delete=delete,
                grace_s=grace_s,
                cache_s=cache_days * 86_400,
                deleted_days=deleted_days,
                shown=shown,
            )
        if as_json:
            print_json(report)
            return
        screen = console(session.color)
        tell = screen.print
        if report.gone or report.expired:
            screen.print(_table(report))
        size = _size(sum(one.size_bytes for one in report.gone))
        if delete:
            tell(f"{len(report.gone):,} things taken away, {size}; {report.kept_blobs:,} blobs are needed")
        elif report.gone or report.expired:
            tell(f"{len(report.gone):,} things would go, {size}; nothing was changed")
            tell(
                f"to take them away: boucle gc --delete --grace {grace} --cache-days {cache_days:g} "
                f"--deleted-days {deleted_days:g}"
            )
        else:
            tell(f"nothing to take away; {report.kept_blobs:,} blobs are needed")


def collect(
    store: "Store",
    name: str,
    *,
    keep_days: int | None,
    delete: bool,
    grace_s: float,
    cache_s: float,
    deleted_days: float,
    shown: "Progress",
) -> "GcReport":
    """Garbage collection of a store, with what each room knows of its own files.

    `keep_days` counts for what was served and seen of the project `name`; None keeps it.
    """
    from datetime import timedelta

    from boucle.identity.api import local_principal
    from boucle.kernel.care import gc as engine
    from boucle.loop.spent import spent
    from boucle.models.api import came_from
    from boucle.monitoring.api import expiring
    from boucle.pipeline import api as pipeline
    from boucle.runs.purge import purge_deleted
    from boucle.serving import api as serving
    from boucle.serving.owner import is_own

    now = store.clock.now()
    kept_since = None if keep_days is None else now - timedelta(days=keep_days)
    is_spent = spent(store, name, kept_since)
    actor = local_principal().name
    return engine.collect(
        store,
        [
            lambda: pipeline.collectable(store.home, cache_s),
            lambda: serving.collectable(
                store.home, lambda endpoint: is_own(store, endpoint, name), is_spent, grace_s, kept_since
            ),
        ],
        purges=[
            *([] if keep_days is None else [expiring(store, name, keep_days=keep_days, now=now, actor=actor)]),
            purge_deleted(
                before_ms=int((now - timedelta(days=deleted_days)).timestamp() * 1000),
                spared=store.read(came_from),
                actor=actor,
            ),
        ],
        grace_s=grace_s,
        delete=delete,
        progress=shown,
    )


def parse_seconds(text: str) -> float:
    """A duration.

    >>> parse_seconds("24h"), parse_seconds("0"), parse_seconds("1.5d")
    (86400.0, 0.0, 129600.0)
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", text.strip())
    if match is None:
        raise InvalidInput(f"`{text}` is no duration: write 90m, 24h, 7d, or seconds", hint="boucle gc --help")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def _table(report: "GcReport") -> object:
    from boucle.app.console import table

    kinds = sorted({one.kind for one in report.gone})
    rows: list[Sequence[str]] = []
    for kind in kinds:
        sizes = [one.size_bytes for one in report.gone if one.kind == kind]
        rows.append((kind, f"{len(sizes):,}", _size(sum(sizes))))
    rows += [(f"rows of {name}", f"{count:,}", "-") for name, count in sorted(report.expired.items())]
    return table("", ("what", "how many", "size"), rows, right=("how many", "size"))


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
