"""Whose an endpoint is: the project's that deployed to it first, since policies and permits are a project's.

Threat model: as in `boucle.governance.doors`. Endpoints are the whole store's, so who may write in one project could
register a model of the same name in another one, where no policy is in force, and deploy that.
"""

from sqlalchemy import Connection

from boucle.kernel.errors import Refused
from boucle.kernel.store import Store
from boucle.models.api import first_project_of
from boucle.serving.records import Traffic


def owner(conn: Connection, traffic: Traffic) -> str | None:
    """The project that an endpoint belongs to; None if nobody knows it any more.

    Records that do not say it are those of older versions: then it is the project that had the champion first.
    """
    if traffic.project is not None:
        return traffic.project
    champion = traffic.champion
    return first_project_of(conn, champion.model or traffic.endpoint, champion.number, champion.bundle_digest)


def project_of(store: Store, traffic: Traffic) -> str | None:
    """`owner`, asked of a store."""
    return traffic.project or store.read(lambda conn: owner(conn, traffic))


def refuse_other(store: Store, traffic: Traffic, project_id: str) -> None:
    """Refused if an endpoint belongs to another project than this one."""
    found = project_of(store, traffic)
    if found not in (None, project_id):
        raise Refused(
            f"endpoint {traffic.endpoint!r} belongs to the project {found!r}, which deployed to it first, not to "
            f"{project_id!r}",
            hint=f"boucle deploy VERSION --to ANOTHER_ENDPOINT; versions of {found}: "
            f"boucle deploy VERSION --to {traffic.endpoint} --in {found}",
        )
