"""Deploying: write a bundle out where the worker finds it, then say so in the traffic file."""

from typing import TYPE_CHECKING

from boucle.kernel import trees
from boucle.kernel.digests import Digest
from boucle.kernel.errors import NotFound
from boucle.kernel.locks import turn
from boucle.kernel.paths import make_folder
from boucle.kernel.points import reach
from boucle.serving.records import Deployment, Traffic
from boucle.serving.traffic import endpoint_folder, read_traffic, serving_root, write_traffic

if TYPE_CHECKING:  # the store loads the database, which a program that only serves never needs
    from boucle.kernel.store import Store


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
        try:
            before = read_traffic(store.home, endpoint)
        except NotFound:
            generation = 1
        else:
            if before.champion == champion:
                return before
            generation = before.generation + 1
        traffic = Traffic(endpoint=endpoint, generation=generation, champion=champion)
        write_traffic(store.home, traffic)
        reach("traffic.written")
    return traffic
