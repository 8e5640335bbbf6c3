"""What the operating system tells of processes, disks and GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from boucle.monitoring.resources import disk_use, folder_bytes, gpu_use, parsed_gpus, processes, use_of

BUSY = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint('busy', flush=True)\nsys.stdin.read()"


def test_a_process_counts_with_its_children_also_when_they_have_ended() -> None:
    table = processes()
    before = use_of(os.getpid(), table)
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"busy\n"
        during = use_of(os.getpid(), processes())
        alone = use_of(os.getpid(), processes(), without=[child.pid])
        child.communicate()
    after = use_of(os.getpid(), processes())
    assert during.processes == before.processes + 1 == alone.processes + 1
    assert during.cpu_s - alone.cpu_s >= 0.25
    assert after.cpu_s - before.cpu_s >= 0.25
    assert during.memory_bytes > alone.memory_bytes > 1_000_000


def test_a_process_that_is_not_there_uses_nothing() -> None:
    assert use_of(1 << 30, processes()).processes == 0


def test_a_folder_takes_what_its_files_take(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(os.urandom(100_000))
    assert 100_000 <= folder_bytes(tmp_path) < 300_000
    assert disk_use(tmp_path).total_bytes >= disk_use(tmp_path).free_bytes > 0


def test_gpus_are_those_that_the_driver_tells_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_use() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, NVIDIA H100 80GB HBM3, 37, 1024, 81559'\necho '1, Odd, [N/A], 7, 100'\n")
    program.chmod(0o700)
    first, second = gpu_use()
    assert (first.name, first.busy_percent, first.memory_used_bytes) == ("NVIDIA H100 80GB HBM3", 37.0, 1 << 30)
    assert second.busy_percent is None
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert gpu_use() == []


def test_lines_that_tell_of_no_gpu_are_passed_over() -> None:
    assert parsed_gpus("No devices were found\n\n0, X, 1, [N/A], 2\n") == []
