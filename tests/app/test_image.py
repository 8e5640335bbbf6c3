"""A bundle as a container image: built and run by a real Docker engine, on a base made from Debian's packages."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from boucle.app.main import run_command
from boucle.kernel.ports import free_port

pytestmark = pytest.mark.long

BASE = "localhost/debian:bookworm"
CACHE = Path(__file__).parents[2] / "build" / "docker"
MAX_MB = 220
ROWS = [{"radius": 14.1, "texture": 19.3}, {"radius": 20.2, "texture": None}]
Docker = Callable[..., str]


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """Runs `docker` against an engine of our own, which touches nothing of this machine's network."""
    folder = tmp_path_factory.mktemp("docker")
    socket = f"unix://{folder}/d.sock"
    options = ["--data-root", folder / "data", "--exec-root", folder / "exec", "-p", folder / "pid", "-H", socket]
    network = ["--bridge=none", "--iptables=false", "--ip6tables=false"]
    around = {**os.environ, "DOCKER_HOST": socket, "DOCKER_BUILDKIT": "0"}

    def run(*words: str | Path) -> str:
        done = subprocess.run(["docker", *words], env=around, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"docker {' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(["dockerd", *options, *network], stdout=log, stderr=log) as engine,
    ):
        try:
            deadline = time.monotonic() + 60
            while subprocess.run(["docker", "info"], env=around, capture_output=True, check=False).returncode:
                assert time.monotonic() < deadline, (folder / "log").read_text()
                engine.poll()
            archive = base()
            run("import", archive, BASE)
            yield run
        finally:
            engine.terminate()
            engine.wait()
            left = folder / "exec" / "netns" / "default"  # a network's name, which stays mounted
            subprocess.run(["umount", left], capture_output=True, check=False)


def base() -> Path:
    """A minimal Debian with Python, as an archive; made once. It trusts the certificates that this machine does."""
    archive = CACHE / "bookworm.tar"
    if not archive.exists():
        root = CACHE / "root"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        include = "--include=ca-certificates,python3,python3-venv"
        subprocess.run(["debootstrap", "--variant=minbase", include, "bookworm", root], check=True, capture_output=True)
        trusted = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
        shutil.copyfile(trusted, root / "etc/ssl/certs/ca-certificates.crt")
        subprocess.run(["tar", "-C", root, "-cf", archive.with_suffix(".part"), "."], check=True)
        archive.with_suffix(".part").rename(archive)
        shutil.rmtree(root)
    return archive


def size_mb(docker: Docker, image: str) -> float:
    return int(docker("image", "inspect", "-f", "{{.Size}}", image)) / 1e6


def ask(port: int, path: str, body: object = None) -> tuple[int, object]:
    data = None if body is None else json.dumps(body).encode()
    asked = Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json", "Host": "a.platform"})
    with urlopen(asked, timeout=10) as answer:
        return answer.status, json.loads(answer.read() or b"null")


def test_an_image_is_built_and_answers(docker: Docker, tmp_path: Path) -> None:
    program = (
        "import boucle, sys; from sklearn.datasets import load_breast_cancer as load; import pandas as pd\n"
        "from sklearn.ensemble import HistGradientBoostingClassifier as Model\n"
        "data = load(); table = pd.DataFrame({'radius': data.data[:, 0], 'texture': data.data[:, 1]})\n"
        "boucle.bundle(Model(max_iter=30).fit(table, data.target), sample=table, path=sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "tumours"], check=True)
    assert run_command(["package", str(tmp_path / "tumours"), "--image", str(tmp_path / "context")]) == 0
    docker("build", "--network", "host", "--build-arg", f"BASE={BASE}", "-t", "tumours", tmp_path / "context")
    assert size_mb(docker, "tumours") - size_mb(docker, BASE) < MAX_MB
    port = free_port("127.0.0.1")
    docker("run", "-d", "--name", "one", "--network", "host", "-e", f"AIP_HTTP_PORT={port}", "tumours", "serve")
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                assert ask(port, "/v2/health/ready")[0] == 200
                break
            except (URLError, ConnectionError):
                assert time.monotonic() < deadline, docker("logs", "one")
        _, answer = ask(port, "/invocations", {"dataframe_records": ROWS})
        assert isinstance(answer, dict)
        assert len(answer["predictions"]) == 2
        assert docker("exec", "one", "id", "-u") == "10001"
        docker("exec", "one", "python3", "-m", "boucle.app.container", "healthy")
        docker("stop", "-t", "20", "one")
        assert docker("inspect", "-f", "{{.State.ExitCode}}", "one") == "0"
    finally:
        docker("rm", "-f", "one")
