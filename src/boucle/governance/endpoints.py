"""The door of endpoints: what may answer there.

Threat model: as in `boucle.governance.doors`. A champion and a canary answer who asks, so each of them stands there by
a permit, of its own pointer; a shadow is not heard, so it needs none. A policy is about one model, and who may write
could have any other model answer in its place: so where one is in force, no other model answers. What becomes of it
stands in the audit log first and in the traffic file then: a process that dies in between is told again, and gets the
same permit or a new one.
"""

from collections.abc import Sequence

from sqlalchemy import Connection

from boucle.governance import store as tables
from boucle.governance.doors import BOOK, Judged, through
from boucle.governance.records import ENDPOINT, GateReport
from boucle.kernel import audit
from boucle.kernel.errors import Refused
from boucle.kernel.store import Store
from boucle.models import aliases, commands
from boucle.models.records import ModelVersion


def permit_deployment(
    store: Store,
    *,
    project_id: str,
    model: str,
    number: int,
    endpoint: str,
    actor: str,
    answering: Sequence[str] = (),
    canary: float | None = None,
    reason: str = "",
) -> ModelVersion:
    """Let a version answer at an endpoint: as champion, or `canary` percent of the questions.

    `answering` are the models that do so now, see `refuse_other_model`.

    One that answered there before in the same way, under the policy still in force, is let back in without being
    judged again. GatesRefused with every verdict otherwise, if the gates say no.
    """
    pointer = f"{ENDPOINT}{endpoint}" + ("" if canary is None else "/canary")
    details: dict[str, object] = {"reason": reason, **({} if canary is None else {"percent": canary})}
    at = store.clock.now()

    def turn(conn: Connection, version: ModelVersion, judged: Judged | None) -> ModelVersion | GateReport:
        refuse_other_model(conn, version, endpoint, answering)
        permit_id = None
        if judged is not None:
            permit = judged.permit(conn, version, pointer, actor=actor, at=at)
            if isinstance(permit, GateReport):
                return permit
            permit_id = permit.id
        aliases.move_endpoint(
            conn, version, pointer, book=BOOK, permit_id=permit_id, actor=actor, at=at, details=details
        )
        return version

    return through(store, project_id, model, number, pointer, turn)


def refuse_other_model(conn: Connection, version: ModelVersion, endpoint: str, answering: Sequence[str]) -> None:
    """Refused where an endpoint is another model's with a policy in force: of that name, or the first that answers now.

    No policy of the version's own model opens it, as anybody may put a weak one on a new name.
    """
    for owner in (endpoint, *answering):
        if tables.in_force(conn, version.project_id, owner) is not None:
            if owner == version.model:
                return
            raise Refused(
                f"endpoint {endpoint!r} is that of {owner!r}, on which a policy is in force: no version of another "
                f"model answers there, such as {version.model}/{version.number}",
                hint=commands.deploy(version.project_id, version.model, version.number, "ANOTHER_ENDPOINT"),
            )


def tell(store: Store, *, project_id: str, endpoint: str, action: str, actor: str, details: dict[str, object]) -> None:
    """Put into the audit log what needs no permit: a shadow that comes, a canary or a shadow that goes."""
    at = store.clock.now()
    store.write(
        lambda conn: audit.append(
            conn,
            project_id=project_id,
            actor=actor,
            action=f"endpoint.{action}",
            subject=endpoint,
            details=details,
            at=at,
        )
    )
