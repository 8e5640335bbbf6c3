"""`boucle fsck`"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import AsJson, Session, session_of
from boucle.kernel.errors import NothingStored

if TYPE_CHECKING:
    from boucle.kernel.care.records import StoreProblem
    from boucle.kernel.progress import Progress


def fsck(
    context: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended without losing anything.")] = False,
    anchor_audit_head: Annotated[
        bool, typer.Option("--anchor-audit-head", help="Make the lost head of the audit log again; the log tells.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at every byte of the store and name what is wrong.

    Ends with 4 if something is damaged or lost. Others may go on writing.

    \b
    Example:
      boucle fsck
      boucle fsck --repair
    """
    session = session_of(context)
    home = session.home()
    if not home.is_dir() or not any(home.iterdir()):
        raise NothingStored(f"nothing is stored yet in {home}", hint=session.maker())
    from boucle.app.console import print_json, progress

    if repair:
        _refuse_newer(home)
    if anchor_audit_head:
        _anchor(session)
    with progress(session.color) as shown:
        problems = look(home, shown)
        if repair:
            from boucle.kernel.care.repair import repair as mend

            problems = mend(home, problems, shown)
    if as_json:
        print_json({"problems": [{"damage": one.is_damage, **_facts(one)} for one in problems]})
    else:
        _show(session, problems)
    if any(one.is_damage and not one.repaired for one in problems):
        raise typer.Exit(4)


def _refuse_newer(home: Path) -> None:
    from boucle.kernel.errors import BoucleError, NewerStore
    from boucle.kernel.schema import is_current

    try:
        is_current(home / "boucle.db")
    except NewerStore:
        raise
    except BoucleError:
        pass  # damage is what is looked for


def look(home: Path, shown: "Progress") -> "list[StoreProblem]":
    """Everything that is wrong with a store, with what each room knows of its own files."""
    from boucle.kernel.care.fsck import fsck as engine

    rooms: Sequence[Callable[[], Iterable[StoreProblem]]] = [lambda: _results(home), lambda: _served(home)]
    return engine(home, rooms, shown)


def _results(home: Path) -> "Iterator[StoreProblem]":
    from boucle.kernel.care.records import StoreProblem
    from boucle.pipeline.api import broken_manifests

    for file, why in broken_manifests(home):
        path = file.relative_to(home).as_posix()
        message = f"this result counts as missing: {why}; its step runs again"
        yield StoreProblem(kind="result_broken", object=path, message=message, next="boucle fsck --repair")


def _served(home: Path) -> "Iterator[StoreProblem]":
    from boucle.kernel.care.records import StoreProblem
    from boucle.serving.api import broken_parts, broken_traffic, damaged_log

    for file, why in broken_traffic(home):
        path = file.relative_to(home).as_posix()
        yield StoreProblem(
            kind="traffic_broken",
            object=path,
            message=why,
            needed_by=[f"endpoint {file.parent.name}"],
            next=f"rm '{file}' && boucle run",
        )
    for endpoint, damage in damaged_log(home):
        yield StoreProblem(
            kind="log_cut" if damage.cut_off else "log_damaged",
            object=f"serving/{endpoint}/log/segment-{damage.segment:08d}.log",
            message=f"{damage.size_bytes:,} bytes from {damage.offset:,} on: {damage.message}",
            next=None if damage.cut_off else "boucle restore FILE",
        )
    for part in broken_parts(home):
        yield StoreProblem(
            kind="log_damaged",
            object=part.relative_to(home).as_posix(),
            message="its bytes are not what was written: its name has their hash",
            next="boucle restore FILE",
        )


def _anchor(session: Session) -> None:
    project_id = session.project_name()
    with session.store() as store:
        from boucle.identity.api import local_principal
        from boucle.kernel.care.repair import anchor_audit_head

        anchor_audit_head(store, project_id=project_id, actor=local_principal().name)


def _facts(problem: "StoreProblem") -> dict[str, object]:
    from msgspec.structs import asdict

    return asdict(problem)


def _show(session: Session, problems: "Sequence[StoreProblem]") -> None:
    from boucle.app.console import console, mark

    screen = console(session.color)
    for one in problems:
        screen.print(mark(True if one.repaired else False if one.is_damage else None), one.kind, one.object)
        screen.print(f"    {one.message}")
        if one.needed_by:
            more = f" and {len(one.needed_by) - 5:,} more" if len(one.needed_by) > 5 else ""
            screen.print(f"    needed by {', '.join(one.needed_by[:5])}{more}")
        if one.repaired:
            screen.print("    mended")
        elif one.next:
            screen.print(f"    next: {one.next}")
    damage = sum(one.is_damage and not one.repaired for one in problems)
    if damage:
        screen.print(f"{damage:,} damaged or lost")
    else:
        screen.print("the store is sound" + (f"; {len(problems):,} told above" if problems else ""))
