"""A bad disk: system calls that fail, a disk that is full, and a project to hurt."""

import mmap
import os
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from boucle.identity import store as people
from boucle.kernel.store import Store

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"
NUMBERS = struct.Struct("6q")
KINDS = {"write": 1, "sync": 2, "rename": 4, "truncate": 8}


class Faults:
    """Which system calls below a folder fail, in this process and in those that run with `environment`."""

    def __init__(self, library: Path, control: Path, under: Path) -> None:
        control.write_bytes(bytes(NUMBERS.size))
        with control.open("r+b") as file:
            self._numbers = mmap.mmap(file.fileno(), NUMBERS.size)
        self.environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "FAULTS_CONTROL": str(control),
            "FAULTS_UNDER": str(under),
            "OMP_NUM_THREADS": "1",
        }

    def begin(self, kind: str, error: int) -> None:
        """From now on every call of this kind fails."""
        self._numbers[:] = NUMBERS.pack(sum(KINDS[one] for one in kind.split()), 1, 1 << 60, error, 0, 0)

    def end(self) -> None:
        """No call fails any more."""
        self._numbers[:] = bytes(NUMBERS.size)

    @property
    def failed(self) -> int:
        """Calls that failed since `begin`."""
        return int(NUMBERS.unpack(self._numbers[:])[5])


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built `faults.c`."""
    subprocess.run([HERE / "install-compiler"], check=True)
    built = tmp_path_factory.mktemp("library") / "faults.so"
    source = HERE / "faults.c"
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", built, source, "-ldl"], check=True)
    return built


@pytest.fixture
def faults(library: Path, tmp_path: Path) -> Faults:
    """Faults below `tmp_path / "disk"`."""
    (tmp_path / "disk").mkdir()
    return Faults(library, tmp_path / "control", tmp_path / "disk")


class SmallDisk:
    """A file system of a few megabytes that can be filled to the last byte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, leave_bytes: int = 0) -> None:
        """Leave this much room and not a byte more."""
        found = os.statvfs(self.folder)
        with self._filler.open("ab", buffering=0) as file:
            if leave_bytes:
                file.write(bytes(max(0, found.f_bavail * found.f_frsize - leave_bytes)))
                return
            for size in (1 << 16, 4096, 1):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Make room."""
        self._filler.unlink(missing_ok=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"this account may not mount a small disk ({mounted.stderr.strip()}); test_failing_calls.py may")
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


Unpack = Callable[[Path], Path]


@pytest.fixture(scope="session")
def served_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of the newest golden home: it ran, was replayed, and has a version in charge."""
    folder = tmp_path_factory.mktemp("served")
    with tarfile.open(max(GOLDEN.glob("home-*.tar.xz"))) as tar:
        tar.extractall(folder, filter="tar")
    with Store.open(folder / ".boucle") as store:
        # Past the rule that the last admin stays: who runs commands here has no token.
        store.write(lambda conn: people.remove_user(conn, "ada"))
    return folder


@pytest.fixture
def lay(served_project: Path) -> Unpack:
    """Copies that project into a folder."""

    def copy(target: Path) -> Path:
        return Path(shutil.copytree(served_project, target, dirs_exist_ok=True))

    return copy


@pytest.fixture(scope="session")
def boucle() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `boucle` as a person does."""
    program = Path(sys.executable).with_name("boucle")

    def call(words: Sequence[str], project: Path, **rest: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [program, *words, "--project", project], capture_output=True, text=True, check=False, timeout=300, **rest
        )

    return call
