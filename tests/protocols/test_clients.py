"""Other people's clients ask a real server, as they come, and every one gets what the bundle answers."""

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from boucle.kernel import trees
from boucle.kernel.store import Store
from boucle.serving.api import ServerProcess, deploy, log_folder, read_frames

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build"
ROWS = 200


@pytest.fixture(scope="module")
def programs() -> Path:
    """The programs of the clients' environment."""
    subprocess.run([HERE / "install-clients"], check=True)
    return BUILD / "clients" / "bin"


@pytest.fixture
def url(store: Store, tmp_path: Path, bundles: ModuleType) -> Iterator[str]:
    digest = trees.freeze(store.blobs, bundles.write_bundle(tmp_path / "bundle"))
    deploy(store, project_id="flights", number=3, bundle_digest=digest)
    with ServerProcess(store.home, "flights") as url:
        yield url


def test_kserve_mlflow_and_tensorflow_understand_us(
    programs: Path, url: str, store: Store, tmp_path: Path, bundles: ModuleType
) -> None:
    made = random.Random(5)
    rows = [(made.choice(["AA", "UA", "ZZ"]), made.choice([12.5, 70.0, 88.0])) for _ in range(ROWS)]
    columns = dict(zip(("carrier", "temp"), zip(*rows, strict=True), strict=True))
    (tmp_path / "rows.json").write_text(json.dumps(columns))
    command = [programs / "python", HERE / "ask_by_clients.py", url, "flights", tmp_path / "rows.json"]
    done = subprocess.run([*command, tmp_path / "answers.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((tmp_path / "answers.json").read_text())
    expected = [bundles.probability(*row) for row in rows]
    for way in ("v1", "v2", "v2 binary", "mlflow", "tf"):
        probabilities, labels = found.pop(way)
        assert probabilities == pytest.approx(expected, abs=1e-12), way
        assert labels == ["late" if one >= 0.5 else "on time" for one in expected]
    assert found.pop("mlflow version")
    assert found == {
        "v1 ready": True,
        "v2 live": True,
        "v2 ready": True,
        "v2 model ready": True,
        "tf state": "AVAILABLE",
        "tf inputs": ["carrier", "flight_id", "scheduled_at", "temp"],
        "tf outputs": ["label", "probability"],
    }
    logged = [frame for frame, _ in read_frames(log_folder(store.home, "flights"))]
    assert [frame.rows for frame in logged] == [ROWS] * 5
    assert len({frame.request_id for frame in logged}) == 5
