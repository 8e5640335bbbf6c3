"""What fsck may mend: it takes away what is made again, moves damaged blobs aside, and loses nothing."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace
from sqlalchemy import Connection

from boucle.kernel import audit, presence
from boucle.kernel.blobs import BlobStore
from boucle.kernel.care.records import StoreProblem
from boucle.kernel.care.references import REPAIR
from boucle.kernel.care.turns import care
from boucle.kernel.digests import Digest
from boucle.kernel.errors import Damaged, NotFound, Refused
from boucle.kernel.locks import turn
from boucle.kernel.paths import make_folder, translate
from boucle.kernel.points import reach
from boucle.kernel.progress import Progress
from boucle.kernel.store import Store


def repair(home: Path, problems: Iterable[StoreProblem], progress: Progress) -> list[StoreProblem]:
    """Mend what can be mended safely; the same problems, those that are mended marked so."""
    with care(home, shared=False, progress=progress), translate(home):
        return [_left(home, one) if _mend(home, one) else one for one in problems]


def _left(home: Path, problem: StoreProblem) -> StoreProblem:
    """A problem after its mending: a blob that rows need is not back by being moved aside."""
    needed = problem.kind == "blob_damaged" and problem.needed_by
    if needed and not BlobStore(home / "blobs").has(Digest(problem.object)):
        message = f"{problem.message}; its bytes were moved to damaged/"
        command = (problem.next or "").removeprefix(f"{REPAIR} && ")
        return replace(problem, kind="blob_missing", message=message, next=command)
    return replace(problem, repaired=True)


def anchor_audit_head(store: Store, *, project_id: str, actor: str) -> audit.AuditHead:
    """Keep the head of the log outside the database again, where it was lost, and say so in the log itself.

    Refused if the head is there, or if the chain does not hold: then it is evidence.
    """
    report = audit.verify(store)
    if store.audit_head.read() is not None:
        raise Refused("the head of the audit log is not lost", hint="boucle audit verify")
    if any(one.kind != "cut_tail" for one in report.problems):
        raise Refused("the audit log was changed; a new head would hide that", hint="boucle audit verify")

    def unit(connection: Connection) -> None:
        details = {"records": report.records, "hash": report.head.hash, "why": "the head kept outside was lost"}
        audit.append(
            connection,
            project_id=project_id,
            actor=actor,
            action="audit.anchor",
            subject="audit-head.json",
            details=details,
            at=store.clock.now(),
        )

    store.write(unit)
    return store.write(store.audit_head.anchor)


def _mend(home: Path, problem: StoreProblem) -> bool:
    path = home / problem.object
    match problem.kind:
        case "blob_damaged":
            return _set_aside(home, Digest(problem.object))
        case "result_broken" | "folder_damaged" | "temporary_left":
            return _take_away(home, path)
        case "open_to_others":
            home.chmod(0o700)
            return True
    return False


def _set_aside(home: Path, digest: Digest) -> bool:
    """Move a damaged blob to `damaged/`, so that it counts as missing and can be made again."""
    blobs = BlobStore(home / "blobs")
    make_folder(home / "damaged")
    with turn(blobs.root / presence.LOCK):
        try:
            blobs.verify(digest)
        except NotFound:
            return True
        except (Damaged, OSError):
            reach("repair.damaged")
            blobs.path(digest).replace(home / "damaged" / digest)
            reach("repair.set_aside")
    return True


def _take_away(home: Path, path: Path) -> bool:
    """Take away a file or folder that is made again; a folder goes in one step."""
    with turn(home / "blobs" / presence.LOCK):
        reach("repair.chosen")
        if path.is_dir():
            going = path.with_name(f".{path.name.lstrip('.')}.going")
            if going != path:
                shutil.rmtree(going, ignore_errors=True)
                path.rename(going)
                reach("repair.folder_moved")
        else:
            going = path
            path.unlink(missing_ok=True)
        reach("repair.taken")
    shutil.rmtree(going, ignore_errors=True)
    return True
