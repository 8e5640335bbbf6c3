"""Traffic: an endpoint's desired state in one file, and the worker's acknowledgement in another.

    <home>/serving/bundles/<digest>/            bundles, written out once, shared by all endpoints
    <home>/serving/bundles/<digest>.<key>.sig   what a key signed of a bundle, where a policy asks for it
    <home>/serving/<endpoint>/traffic.json      desired state, atomically renamed
    <home>/serving/<endpoint>/ack.json          what the worker serves
    <home>/serving/<endpoint>/keys.json         who may ask, if not everybody
    <home>/serving/<endpoint>/log.json          what is kept of its log
    <home>/serving/<endpoint>/log/              the prediction log
    <home>/serving/<endpoint>/counters/         what its workers count
    <home>/serving/<endpoint>/server.lock       held by the one server of the endpoint

Imported by the worker: the kernel's stdlib modules and msgspec only.
"""

import time
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from boucle.kernel.digests import digest_bytes, digest_json
from boucle.kernel.errors import Damaged, NotFound, Unavailable
from boucle.kernel.paths import inside, translate, write_atomic
from boucle.kernel.points import reach
from boucle.packaging.naming import check_served_name
from boucle.serving.records import Ack, Deployment, Traffic

POLL_S: Final = 0.02
_ANEW: Final = "run `boucle run` or `boucle serve`: it writes the file anew from what is in charge"
T = TypeVar("T")


def serving_root(home: Path) -> Path:
    """The folder that holds bundles and endpoints."""
    return home / "serving"


def endpoint_folder(home: Path, endpoint: str) -> Path:
    """An endpoint's folder; InvalidInput if its name leads elsewhere."""
    return inside(serving_root(home), endpoint)


def signature_of(root: Path, deployment: Deployment) -> Path | None:
    """Where the signature of a deployed bundle lies, beside it; None if none is asked for."""
    if deployment.signer is None:
        return None
    return inside(root, f"{deployment.path}.{digest_bytes(deployment.signer.encode())}.sig")


def check_name(endpoint: str) -> None:
    """InvalidInput unless an endpoint may have this name."""
    check_served_name(endpoint, "an endpoint")


def log_folder(home: Path, endpoint: str) -> Path:
    """The folder of an endpoint's prediction log."""
    return endpoint_folder(home, endpoint) / "log"


def counters_folder(home: Path, endpoint: str) -> Path:
    """The folder of what an endpoint's workers count."""
    return endpoint_folder(home, endpoint) / "counters"


def endpoints(home: Path) -> list[str]:
    """The endpoints that something was deployed to."""
    return sorted(file.parent.name for file in serving_root(home).glob("[!.]*/traffic.json"))


def traffic_file(home: Path, endpoint: str) -> Path:
    """The file of the desired state."""
    return endpoint_folder(home, endpoint) / "traffic.json"


def read_traffic(home: Path, endpoint: str) -> Traffic:
    """The desired state; NotFound if nothing was ever deployed there."""
    traffic = read_sealed(traffic_file(home, endpoint), Traffic, hint=_ANEW)
    if traffic is None:
        raise NotFound(
            f"endpoint {endpoint!r} has no deployment",
            hint="run `boucle run`: it deploys the version whose gates pass",
        )
    return traffic


def write_traffic(home: Path, traffic: Traffic) -> None:
    """Replace the desired state in one step."""
    write_atomic(traffic_file(home, traffic.endpoint), sealed(traffic))


def read_ack(home: Path, endpoint: str) -> Ack | None:
    """The worker's newest answer; None if there never was one, or it cannot be read, so that nothing relies on it."""
    try:
        return read_sealed(endpoint_folder(home, endpoint) / "ack.json", Ack, hint=_ANEW)
    except Damaged:
        return None


def write_ack(home: Path, endpoint: str, ack: Ack) -> None:
    """Answer a generation (worker only)."""
    reach("ack.known")
    write_atomic(endpoint_folder(home, endpoint) / "ack.json", sealed(ack))
    reach("ack.written")


def forget_ack(home: Path, endpoint: str) -> None:
    """Take the answer back: no worker runs."""
    reach("ack.stale")
    (endpoint_folder(home, endpoint) / "ack.json").unlink(missing_ok=True)
    reach("ack.forgotten")


def wait_acknowledged(home: Path, endpoint: str, generation: int, timeout_s: float = 30.0) -> Ack:
    """Wait until the worker serves this generation or a later one.

    Unavailable if it says that it cannot, or says nothing within the time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        ack = read_ack(home, endpoint)
        if ack is not None and ack.generation >= generation:
            if ack.error is None:
                return ack
            raise Unavailable(f"endpoint {endpoint!r} cannot serve generation {ack.generation}: {ack.error}")
        if time.monotonic() >= deadline:
            serves = "nothing" if ack is None else f"generation {ack.generation}"
            raise Unavailable(
                f"endpoint {endpoint!r} did not take up generation {generation} within {timeout_s:g} s; "
                f"it serves {serves}",
                hint="is the server running? start it: boucle serve",
            )
        time.sleep(POLL_S)


def sealed(record: Struct) -> bytes:
    """A record with its digest in it: a wrong byte in a number would be a number as well."""
    body = msgspec.to_builtins(record)
    return msgspec.json.encode(body | {"digest": digest_json(body)})


def read_sealed(file: Path, kind: type[T], *, hint: str) -> T | None:
    """A record that was written with its digest; None if there is none, Damaged with the hint if it cannot be read."""
    with translate(file):
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            return None
    try:
        body = msgspec.json.decode(data, type=dict[str, object])
        digest = body.pop("digest", None)  # the files of version 0.1.0 have none
        if digest is not None and digest != digest_json(body):
            raise ValueError("its content no longer has its digest")
        return msgspec.convert(body, kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Damaged(
            f"{str(file)!r} cannot be read: {error}",
            hint=hint,
        ) from error
