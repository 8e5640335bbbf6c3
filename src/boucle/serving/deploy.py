"""Deploying: write a bundle out where the workers find it, then say so in the traffic file."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from boucle.kernel import trees
from boucle.kernel.digests import Digest
from boucle.kernel.errors import Damaged, InvalidInput, NotFound
from boucle.kernel.locks import turn
from boucle.kernel.paths import make_folder, write_atomic
from boucle.kernel.points import reach
from boucle.packaging.manifest import read_manifest
from boucle.serving import rollout
from boucle.serving.records import Canary, Deployment, Placed, Role, Traffic
from boucle.serving.traffic import (
    check_name,
    endpoint_folder,
    read_ack,
    read_traffic,
    serving_root,
    signature_of,
    write_traffic,
)

if TYPE_CHECKING:  # the store loads the database, which a program that only serves never needs
    from boucle.kernel.store import Store

Permitted = Callable[[bool], object]
"""Raises if a change may not be, and tells the audit log of it if it may; called with whether there is one."""
_LOCK: Final = ".deploying.lock"
_log: Final = logging.getLogger(__name__)


def deploy(
    store: "Store",
    *,
    project_id: str,
    number: int,
    bundle_digest: Digest,
    endpoint: str | None = None,
    model: str | None = None,
    permitted: Permitted | None = None,
) -> Traffic:
    """Make a version the champion of an endpoint (named as the project, if no name is given).

    Its canary and its shadow stay, unless they are this version. Returns at once, see `wait_acknowledged`. The version
    that is deployed already changes nothing. Refused, as all that follows, if the endpoint is another project's.
    """
    endpoint = endpoint or project_id
    check_name(endpoint)
    model = None if model == endpoint else model
    champion = written_out(store, number, bundle_digest, project_id=project_id, endpoint=endpoint, model=model)

    def rule(traffic: Traffic | None) -> Traffic:
        if traffic is None:
            return Traffic(endpoint=endpoint, generation=0, champion=champion)
        return rollout.with_champion(traffic, champion)

    return _change(store, project_id, endpoint, rule, permitted)


def deploy_canary(
    store: "Store",
    endpoint: str,
    deployment: Deployment,
    *,
    project_id: str,
    weight: float,
    key: str | None = None,
    permitted: Permitted | None = None,
    placed: Placed | None = None,
) -> Traffic:
    """Let a deployment answer a share of an endpoint's questions, drawn by a column if one is named.

    InvalidInput if it does not take and answer the same columns as the champion: clients do not know who answers them.
    """

    def rule(traffic: Traffic | None) -> Traffic:
        traffic = _known(endpoint, traffic)
        _refuse_other_columns(store.home, traffic, deployment)
        return rollout.with_canary(traffic, Canary(deployment=deployment, weight=weight, key=key))

    return _change(store, project_id, endpoint, rule, permitted, placed)


def deploy_shadow(
    store: "Store",
    endpoint: str,
    deployment: Deployment,
    *,
    project_id: str,
    permitted: Permitted | None = None,
    placed: Placed | None = None,
) -> Traffic:
    """Have a deployment asked what the others answer, unheard."""

    def rule(traffic: Traffic | None) -> Traffic:
        return rollout.with_shadow(_known(endpoint, traffic), deployment)

    return _change(store, project_id, endpoint, rule, permitted, placed)


def withdraw(
    store: "Store", endpoint: str, role: Role, *, project_id: str, permitted: Permitted | None = None
) -> Traffic:
    """Take the canary or the shadow away; NotFound if there is none."""

    def rule(traffic: Traffic | None) -> Traffic:
        return rollout.without(_known(endpoint, traffic), role)

    return _change(store, project_id, endpoint, rule, permitted)


def written_out(
    store: "Store", number: int, bundle_digest: Digest, *, project_id: str, endpoint: str, model: str | None = None
) -> Deployment:
    """A version's bundle in a folder of the server, with the signature that its policy asks for.

    Refused if that is not there. InvalidInput if it is no bundle that Boucle can serve.
    """
    root = serving_root(store.home)
    folder = trees.materialise(store.blobs, bundle_digest, root / "bundles" / bundle_digest)
    reach("traffic.bundle_written")
    path = folder.relative_to(root).as_posix()
    deployment = Deployment(number=number, bundle_digest=bundle_digest, path=path, model=model)
    return _signed(store, project_id, endpoint, deployment)


def guard(store: "Store", project_id: str, endpoint: str) -> Traffic:
    """Have an endpoint load nothing that the policies in force now ask a signature for, unless it is there.

    Refused, with nothing changed, if one of its deployments lacks it. What was asked for at deploying stays asked for.
    The policies are those of the project that the endpoint belongs to, `project_id` if nobody knows that.
    """
    from boucle.serving.owner import project_of

    # one that is lost or damaged is not for this to write anew
    project = project_of(store, read_traffic(store.home, endpoint)) or project_id

    def rule(traffic: Traffic | None) -> Traffic:
        return rollout.guarded(_known(endpoint, traffic), lambda one: _signed(store, project, endpoint, one))

    return _change(store, project, endpoint, rule, None)


def _signed(store: "Store", project_id: str, endpoint: str, deployment: Deployment) -> Deployment:
    """A deployment with the signature that its policy asks for written out beside it."""
    from boucle.governance.signatures import required_signature

    model, digest = deployment.model or endpoint, deployment.bundle_digest
    found = required_signature(store, project_id, model, deployment.number, digest)
    signed = replace(deployment, signer=deployment.signer if found is None else found.key)
    place = signature_of(serving_root(store.home), signed)
    if found is not None and place is not None:
        write_atomic(place, store.blobs.get(found.statement_digest))
    return signed


def standstill(home: Path) -> turn:
    """Nothing is deployed or withdrawn while this is held: for what must not be while a version answers."""
    make_folder(serving_root(home))
    return turn(serving_root(home) / _LOCK)


def _change(
    store: "Store",
    project_id: str,
    endpoint: str,
    rule: Callable[[Traffic | None], Traffic],
    permitted: Permitted | None,
    placed: Placed | None = None,
) -> Traffic:
    """Replace the traffic file by what the rule makes of it, as the next generation, if that differs and is permitted.

    `placed`: the step of a rollout that is taken by it, if it is one.

    All in one turn, so that the audit log tells of changes in the order in which they came about.
    """
    from boucle.serving.owner import refuse_other

    home = store.home
    make_folder(endpoint_folder(home, endpoint))
    with turn(serving_root(home) / _LOCK, shared=True), turn(endpoint_folder(home, endpoint) / "traffic.lock"):
        before = _before(home, endpoint)
        if before is not None:
            refuse_other(store, before, project_id)
        after = rollout.placed_by(before, rule(before), placed)
        if permitted is not None:
            permitted(after != before)
        if after == before:
            return after
        # Past whatever the server acknowledged, also where the file was lost: its old answer must not pass for the new.
        ack = read_ack(home, endpoint)
        last = max(before.generation if before else 0, ack.generation if ack else 0)
        traffic = replace(after, generation=last + 1, project=project_id)
        write_traffic(home, traffic)
        reach("traffic.written")
    return traffic


def _before(home: Path, endpoint: str) -> Traffic | None:
    """What is deployed; None if nothing is, or if the file is damaged, since it is written anew."""
    try:
        return read_traffic(home, endpoint)
    except NotFound:
        return None
    except Damaged as error:
        _log.warning("%s; it is written anew", error.message)
        return None


def _known(endpoint: str, traffic: Traffic | None) -> Traffic:
    if traffic is None:
        raise NotFound(
            f"endpoint {endpoint!r} has no champion yet, so there is nothing to compare with",
            hint=f"boucle deploy VERSION --to {endpoint}",
        )
    return traffic


def _refuse_other_columns(home: Path, traffic: Traffic, deployment: Deployment) -> None:
    root = serving_root(home)
    ours, its = (read_manifest(root / one.path).signature for one in (traffic.champion, deployment))
    taken = [{(one.name, one.kind, one.row_shape) for one in signature.inputs} for signature in (ours, its)]
    given = [{(one.name, one.datatype, ()) for one in signature.outputs} for signature in (ours, its)]
    for word, (champion, other) in (("inputs", taken), ("outputs", given)):
        if champion != other:
            names = ", ".join(sorted({name for name, *_ in champion ^ other}))
            raise InvalidInput(
                f"version {deployment.number} has other {word} than version {traffic.champion.number}, the champion of "
                f"{traffic.endpoint!r}: they differ in {names}; a canary must take and answer the same columns",
                hint=f"make it the champion (boucle deploy {deployment.number} --to {traffic.endpoint}), or serve it "
                "at an endpoint of its own",
            )
