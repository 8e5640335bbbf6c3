"""Deploying, and waiting until the worker took it up."""

from collections.abc import Callable
from pathlib import Path

import pytest

from boucle.kernel import trees
from boucle.kernel.digests import Digest
from boucle.kernel.errors import Damaged, InvalidInput, NotFound, Unavailable
from boucle.kernel.store import Store
from boucle.serving.deploy import deploy
from boucle.serving.records import Ack, Traffic
from boucle.serving.traffic import read_ack, read_traffic, serving_root, traffic_file, wait_acknowledged, write_ack

Deploy = Callable[..., Traffic]


def test_deploying_writes_the_bundle_out_and_counts_generations(store: Store, deployer: Deploy) -> None:
    first, second = deployer(1), deployer(2, lift=1.0)
    assert (first.generation, second.generation) == (1, 2)
    assert read_traffic(store.home, "flights") == second
    for traffic in (first, second):
        folder = serving_root(store.home) / traffic.champion.path
        assert trees.digest_folder(folder) == traffic.champion.bundle_digest


def test_deploying_what_is_deployed_changes_nothing(store: Store, deployer: Deploy) -> None:
    first = deployer(1)
    before = traffic_file(store.home, "flights").stat()
    assert deployer(1) == first
    after = traffic_file(store.home, "flights").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_going_back_is_a_new_generation(deployer: Deploy) -> None:
    deployer(1)
    deployer(2, lift=1.0)
    assert deployer(1).generation == 3


def test_endpoints_share_bundles_but_not_traffic(store: Store, deployer: Deploy) -> None:
    digest = deployer(1).champion.bundle_digest
    other = deploy(store, project_id="flights", number=1, bundle_digest=digest, endpoint="canary")
    assert (other.endpoint, other.generation) == ("canary", 1)
    assert read_traffic(store.home, "flights").endpoint == "flights"


@pytest.mark.parametrize("name", ["../outside", "/etc", ""])
def test_an_endpoint_stays_below_its_root(store: Store, name: str) -> None:
    with pytest.raises(InvalidInput, match="path"):
        read_traffic(store.home, name)


def test_a_bundle_that_is_not_kept_is_not_deployed(store: Store) -> None:
    with pytest.raises(NotFound, match="no blob 000000000000"):
        deploy(store, project_id="flights", number=1, bundle_digest=Digest("0" * 64))
    with pytest.raises(NotFound, match="endpoint 'flights' has no deployment"):
        read_traffic(store.home, "flights")


def test_a_damaged_traffic_file_is_told(store: Store, deployer: Deploy) -> None:
    deployer(1)
    traffic_file(store.home, "flights").write_text("{")
    with pytest.raises(Damaged, match=r"traffic\.json' cannot be read"):
        read_traffic(store.home, "flights")


def test_waiting_ends_when_the_generation_or_a_later_one_is_served(tmp_path: Path) -> None:
    write_ack(tmp_path, "flights", Ack(generation=3, pid=1))
    assert wait_acknowledged(tmp_path, "flights", 3).generation == 3
    assert wait_acknowledged(tmp_path, "flights", 2).generation == 3
    assert read_ack(tmp_path, "other") is None


def test_waiting_says_what_the_worker_says(tmp_path: Path) -> None:
    write_ack(tmp_path, "flights", Ack(generation=3, pid=1, error="its folder is gone"))
    with pytest.raises(Unavailable, match="cannot serve generation 3: its folder is gone"):
        wait_acknowledged(tmp_path, "flights", 3)


def test_waiting_ends_when_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="did not take up generation 1 within 0 s; it serves nothing"):
        wait_acknowledged(tmp_path, "flights", 1, timeout_s=0)
    write_ack(tmp_path, "flights", Ack(generation=1, pid=1))
    with pytest.raises(Unavailable, match="it serves generation 1"):
        wait_acknowledged(tmp_path, "flights", 2, timeout_s=0)


@pytest.mark.parametrize("damage", ["", "{", None], ids=["empty", "cut", "gone"])
def test_a_lost_traffic_file_is_written_anew_past_every_acknowledged_generation(
    store: Store, deployer: Deploy, damage: str | None
) -> None:
    """The worker's old acknowledgement must not pass for one of the new file."""
    deployer(1)
    assert deployer(2, lift=1.0).generation == 2
    write_ack(store.home, "flights", Ack(generation=2, pid=1))
    file = traffic_file(store.home, "flights")
    file.unlink() if damage is None else file.write_text(damage)
    assert deployer(1).generation == 3
    with pytest.raises(Unavailable, match="it serves generation 2"):
        wait_acknowledged(store.home, "flights", 3, timeout_s=0)


def test_any_wrong_byte_in_the_traffic_file_is_damage_or_nothing(store: Store, deployer: Deploy) -> None:
    traffic = deployer(1)
    file = traffic_file(store.home, "flights")
    whole = file.read_bytes()
    told = 0
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert read_traffic(store.home, "flights") == traffic
        except Damaged:
            told += 1
    assert told > 200


def test_a_damaged_acknowledgement_is_none(store: Store) -> None:
    write_ack(store.home, "flights", Ack(generation=3, pid=1))
    file = store.home / "serving" / "flights" / "ack.json"
    file.write_bytes(file.read_bytes().replace(b"3", b"4", 1))
    assert read_ack(store.home, "flights") is None
