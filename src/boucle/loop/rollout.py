"""A rollout: what governance permits goes to an endpoint, and its traffic follows.

The endpoint that is named as a model is where the model's champion answers: there, deploying a champion moves the
alias. Other endpoints have a pointer of their own.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from boucle.governance import api as governance
from boucle.governance.api import permit_deployment, refuse_other_model, set_alias, tell_of_endpoint
from boucle.kernel.digests import Digest
from boucle.kernel.errors import Damaged, InvalidInput, NotFound, Refused
from boucle.kernel.store import Store
from boucle.models import commands
from boucle.models.api import alias, get_version, list_versions
from boucle.models.records import CHAMPION
from boucle.packaging.manifest import read_manifest
from boucle.serving import api as serving
from boucle.serving.owner import project_of, refuse_other
from boucle.serving.records import Deployment, Placed, Role, Traffic
from boucle.serving.rollout import deployments
from boucle.serving.traffic import read_traffic, serving_root


class By(Struct, frozen=True, kw_only=True):
    """Who changes an endpoint, in which project, and why."""

    project_id: str
    actor: str
    reason: str = ""
    fence: Callable[[], None] | None = None
    """Raises if who changes it must not any more; asked before a change, in its turn."""
    placed: Placed | None = None
    """The step of a rollout that is taken by it, if the loop changes it."""


def deploy_champion(store: Store, by: By, endpoint: str, model: str, number: int) -> Traffic:
    """Make a version the champion of an endpoint, if governance permits it."""
    serving.check_name(endpoint)
    deployment = _deployment(store, by, endpoint, model, number)

    def permitted(changes: bool) -> None:
        if endpoint == model and not _is_champion(store, by, model, number):
            answering = _answering(store, endpoint)
            set_alias(
                store,
                project_id=by.project_id,
                model=model,
                alias=CHAMPION,
                number=number,
                actor=by.actor,
                reason=by.reason,
                joined=lambda conn, version: refuse_other_model(conn, version, endpoint, answering),
            )
        elif changes:  # also where the alias points there already: maybe since before there was a policy
            _permit(store, by, endpoint, model, number)

    return serving.deploy(
        store,
        project_id=by.project_id,
        number=number,
        bundle_digest=deployment.bundle_digest,
        endpoint=endpoint,
        model=model,
        permitted=permitted,
    )


def deploy_canary(
    store: Store, by: By, endpoint: str, model: str, number: int, *, percent: float, key: str | None = None
) -> Traffic:
    """Let a version answer a share of an endpoint's questions, if governance permits it."""

    def permitted(changes: bool) -> None:
        if changes:
            _permit(store, by, endpoint, model, number, canary=percent)

    deployment = _deployment(store, by, endpoint, model, number)
    return serving.deploy_canary(
        store,
        endpoint,
        deployment,
        project_id=by.project_id,
        weight=percent,
        key=key,
        permitted=permitted,
        placed=by.placed,
    )


def deploy_shadow(store: Store, by: By, endpoint: str, model: str, number: int) -> Traffic:
    """Have a version asked what an endpoint answers, unheard; the audit log tells of it."""

    def permitted(changes: bool) -> None:
        if changes:
            get_version(store, by.project_id, model, number)  # in the turn of those who delete
            _tell(store, by, endpoint, "shadow", {"model": model, "number": number})

    deployment = _deployment(store, by, endpoint, model, number)
    return serving.deploy_shadow(
        store, endpoint, deployment, project_id=by.project_id, permitted=permitted, placed=by.placed
    )


def roll_back(store: Store, by: By, endpoint: str, number: int | None = None) -> Traffic:
    """Put the champion before back in charge, or a given one of those before.

    A permit under the policy still in force counts again; otherwise the gates are asked.
    """
    traffic = read_traffic(store.home, endpoint)
    refuse_other(store, traffic, by.project_id)
    champion = traffic.champion
    now = None if champion.model is not None else alias(store, by.project_id, endpoint, CHAMPION)
    if number is None and now is not None and now.number != champion.number:
        target = champion  # the alias moved while nobody served: what is deployed still is what was before
    else:
        target = serving.back_to(traffic, number)
    return deploy_champion(store, by, endpoint, target.model or endpoint, target.number)


def take_away(store: Store, by: By, endpoint: str, role: Role) -> Traffic:
    """End an endpoint's canary or shadow; the audit log tells of it."""
    gone = read_traffic(store.home, endpoint)
    deployment = gone.canary.deployment if role == "canary" and gone.canary else gone.shadow

    def permitted(changes: bool) -> None:
        if changes and deployment is not None:
            details = {"model": deployment.model or endpoint, "number": deployment.number, "role": role}
            _tell(store, by, endpoint, "withdraw", details)

    return serving.withdraw(store, endpoint, role, project_id=by.project_id, permitted=permitted)


def _deployment(store: Store, by: By, endpoint: str, model: str, number: int) -> Deployment:
    """A version's bundle, written out; InvalidInput if its files are no bundle that Boucle can serve."""
    version = get_version(store, by.project_id, model, number)
    deployment = serving.written_out(
        store,
        number,
        version.bundle_digest,
        project_id=by.project_id,
        endpoint=endpoint,
        model=None if model == endpoint else model,
    )
    try:
        read_manifest(serving_root(store.home) / deployment.path)
    except NotFound as error:
        raise InvalidInput(
            f"version {number} of {model} cannot be served: its files are no bundle of Boucle's",
            hint=commands.about("show", by.project_id, model, number),
        ) from error
    return deployment


def _is_champion(store: Store, by: By, model: str, number: int) -> bool:
    move = alias(store, by.project_id, model, CHAMPION)
    return move is not None and move.number == number


def _answering(store: Store, endpoint: str) -> list[str]:
    """The models that answer at an endpoint: its champion's, its canary's."""
    try:
        traffic = read_traffic(store.home, endpoint)
    except (NotFound, Damaged):  # it is written anew
        return []
    heard = [traffic.champion, *([] if traffic.canary is None else [traffic.canary.deployment])]
    return [one.model or endpoint for one in heard]


def _permit(store: Store, by: By, endpoint: str, model: str, number: int, canary: float | None = None) -> None:
    if by.fence is not None:
        by.fence()
    permit_deployment(
        store,
        project_id=by.project_id,
        model=model,
        number=number,
        endpoint=endpoint,
        actor=by.actor,
        answering=_answering(store, endpoint),
        canary=canary,
        reason=by.reason,
    )


def _tell(store: Store, by: By, endpoint: str, action: str, details: dict[str, object]) -> None:
    if by.fence is not None:
        by.fence()
    told = {**details, "reason": by.reason}
    tell_of_endpoint(store, project_id=by.project_id, endpoint=endpoint, action=action, actor=by.actor, details=told)


def delete_version(store: Store, by: By, model: str, number: int) -> None:
    """Take a version away. Refused with the endpoint's name while one answers with it, as `governance` else."""
    version = get_version(store, by.project_id, model, number)
    with serving.standstill(store.home):
        _refuse_served(store, by, model, {number: version.bundle_digest}, model)
        governance.delete_version(store, project_id=by.project_id, model=model, number=number, actor=by.actor)


def delete_model(store: Store, by: By, model: str) -> None:
    """Take a model away with its versions. Refused with the endpoint's name while one answers with any of them."""
    with serving.standstill(store.home):
        _refuse_served(store, by, model, _digests(store, by, model), "ANOTHER_MODEL")
        governance.delete_model(store, project_id=by.project_id, model=model, actor=by.actor)


def rename_model(store: Store, by: By, model: str, new_name: str) -> None:
    """Give a model another name. Refused with the endpoint's name while one answers with any of its versions: what
    answers is known by the name."""
    with serving.standstill(store.home):
        _refuse_served(store, by, model, _digests(store, by, model), "ANOTHER_MODEL")
        governance.rename_model(store, project_id=by.project_id, model=model, new_name=new_name, actor=by.actor)


def _digests(store: Store, by: By, model: str) -> dict[int, Digest]:
    return {one.number: one.bundle_digest for one in list_versions(store, by.project_id, model)}


def _refuse_served(store: Store, by: By, model: str, digests: Mapping[int, Digest], instead: str) -> None:
    for endpoint in serving.endpoints(store.home):
        traffic = read_traffic(store.home, endpoint)
        if project_of(store, traffic) not in (None, by.project_id):
            continue
        for one in deployments(traffic):
            if (one.model or endpoint) == model and digests.get(one.number, "") == one.bundle_digest:
                raise Refused(
                    f"version {one.number} of {model!r} answers at endpoint {endpoint!r}",
                    hint="let another one answer there first: "
                    + commands.deploy(by.project_id, instead, "NUMBER", endpoint),
                )
