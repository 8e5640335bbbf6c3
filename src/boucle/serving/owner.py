"""Whose an endpoint is: the project's that deployed to it first, since policies and permits are a project's.

Threat model: as in `boucle.governance.doors`. Endpoints are the whole store's, so who may write in one project could
register a model of the same name in another one, where no policy is in force, and deploy that.
"""

from pathlib import Path

from sqlalchemy import Connection

from boucle.kernel.errors import Damaged, NotFound, Refused
from boucle.kernel.store import Store
from boucle.models.api import first_project_of
from boucle.serving.log_rules import keep_rules, rules_of
from boucle.serving.records import LogSection, Traffic
from boucle.serving.traffic import read_traffic


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


def is_own(store: Store, endpoint: str, project_id: str) -> bool:
    """Whether an endpoint is this project's: that of its name also where nobody knows. Damaged if its traffic is."""
    try:
        traffic = read_traffic(store.home, endpoint)
    except NotFound:
        return endpoint == project_id
    return (project_of(store, traffic) or endpoint) == project_id


def log_rules(home: Path, project_id: str, section: LogSection | None, endpoint: str) -> LogSection | None:
    """What is kept of an endpoint's log: of the project's own as it says now, which then stands beside the endpoint; of
    another one's as that said last, None if it never did.

    `section` is None where the project has no boucle.yaml: what it said before stays, or else all is kept.
    """
    if not _is_own(home, endpoint, project_id):
        return rules_of(home, endpoint)
    found = section or rules_of(home, endpoint) or LogSection()
    keep_rules(home, endpoint, found)
    return found


def _is_own(home: Path, endpoint: str, project_id: str) -> bool:
    """As `is_own`, with the store opened only where the record does not say it; what is damaged is nobody's."""
    try:
        project = read_traffic(home, endpoint).project
    except NotFound:
        return endpoint == project_id
    except Damaged:
        return False
    if project is not None:
        return project == project_id
    with Store.open(home) as store:
        return is_own(store, endpoint, project_id)


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
