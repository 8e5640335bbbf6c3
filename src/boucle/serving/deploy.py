"""Deploying: write a bundle out where the worker finds it, then say so in the traffic file."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from boucle.kernel import trees
from boucle.kernel.digests import Digest
from boucle.kernel.errors import Damaged, NotFound
from boucle.kernel.locks import turn
from boucle.kernel.paths import make_folder
from boucle.kernel.points import reach
from boucle.serving.records import Deployment, Traffic
from boucle.serving.traffic import endpoint_folder, read_ack, read_traffic, serving_root, write_traffic

if TYPE_CHECKING:  # the store loads the database, which a program that only serves never needs
    from boucle.kernel.store import Store

_log: Final = logging.getLogger(__name__)


def deploy(
    store: "Store", *, project_id: str, number: int, bundle_digest: Digest, endpoint: str | None = None
) -> Traffic:
    """Make a version the champion of an endpoint (named as the project, if no name is given).

    Returns at once, see `wait_acknowledged`. The version that is deployed already changes nothing.
    """
    endpoint = endpoint or project_id
    root = serving_root(store.home)
    folder = trees.materialise(store.blobs, bundle_digest, root / "bundles" / bundle_digest)
    reach("traffic.bundle_written")
    champion = Deployment(number=number, bundle_digest=bundle_digest, path=folder.relative_to(root).as_posix())
    make_folder(endpoint_folder(store.home, endpoint))
    with turn(endpoint_folder(store.home, endpoint) / "traffic.lock"):
        before = _before(store.home, endpoint)
        if before is not None and before.champion == champion:
            return before
        # Past whatever a worker acknowledged, also where the file was lost: its old answer must not pass for the new.
        ack = read_ack(store.home, endpoint)
        last = max(before.generation if before else 0, ack.generation if ack else 0)
        traffic = Traffic(endpoint=endpoint, generation=last + 1, champion=champion)
        write_traffic(store.home, traffic)
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
