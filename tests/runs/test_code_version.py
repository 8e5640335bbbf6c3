"""Git facts become tags; secrets in a remote's address do not."""

import os
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.runs.checked_out import checked_out
from boucle.runs.code_version import (
    GROUP,
    LARGEST_FILE,
    LARGEST_PATCH,
    code_version,
    detect,
    uncommitted,
    without_credentials,
)


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "boucle.yaml").write_text("project: flights\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Begin")
    return tmp_path


def test_a_clean_repository(repository: Path) -> None:
    git(repository, "remote", "add", "origin", "https://ada:s3cret@example.org/flights.git")
    (repository / ".boucle").mkdir()
    (repository / ".boucle" / "boucle.db").touch()
    assert code_version(repository) == {
        "git.revision": git(repository, "rev-parse", "HEAD"),
        "git.branch": "trunk",
        "git.dirty": "false",
        "git.remote": "https://example.org/flights.git",
    }


def test_edits_and_unknown_files_are_dirty(repository: Path) -> None:
    (repository / "features.py").touch()
    assert code_version(repository)["git.dirty"] == "true"


def test_of_a_large_difference_only_what_is_kept_is_read(repository: Path) -> None:
    (repository / "rows.csv").write_text("0,0,0,0,0\n")
    (repository / "larger.csv").write_text("0,0,0,0,0\n")
    git(repository, "add", ".")
    (repository / "boucle.yaml").write_text("project: trains\n")
    assert "+project: trains" in uncommitted(repository)
    (repository / "rows.csv").write_bytes(b"1,2,3,4,5\n" * 500_000)
    os.truncate(repository / "larger.csv", LARGEST_FILE + 1)
    tracemalloc.start()
    patch = uncommitted(repository)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5 * LARGEST_PATCH
    assert patch.startswith("diff --git")
    assert "+project: trains" in patch
    assert len(patch) <= LARGEST_PATCH + 100
    assert patch.endswith("[cut off]\n\n[larger.csv is larger than 16 MiB]\n")


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    assert set(code_version(repository)) == {"git.revision", "git.dirty"}


def test_no_repository_no_commit_and_no_git_give_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code_version(tmp_path) == {}
    assert code_version(tmp_path / "missing") == {}
    git(tmp_path, "init", "-q")
    assert code_version(tmp_path) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version(tmp_path) == {}


def test_another_package_tells_of_code_that_is_kept_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A real entry point of an installed package; one that fails costs nothing."""
    site = tmp_path / "site"
    (site / "fossils-1.0.dist-info").mkdir(parents=True)
    (site / "fossils-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: fossils\nVersion: 1.0\n")
    (site / "fossils-1.0.dist-info" / "entry_points.txt").write_text(
        f"[{GROUP}]\nbroken = fossils:Broken\nfossil = fossils:Fossil\n"
    )
    (site / "fossils.py").write_text(
        "class Broken:\n    def detect(self, folder):\n        raise ValueError('no disk')\n"
        "class Fossil:\n    def detect(self, folder):\n"
        "        return {'fossil.checkin': 'c7'} if (folder / '.fossil').exists() else None\n"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    code = tmp_path / "code"
    code.mkdir()
    assert detect(code) == {}
    (code / ".fossil").touch()
    assert detect(code) == {"fossil.checkin": "c7"}
    assert "a detector of code versions failed: no disk" in caplog.text
    git(code, "init", "-q")
    git(code, "commit", "-q", "--allow-empty", "-m", "first")
    assert detect(code)["git.revision"] == git(code, "rev-parse", "HEAD")


def known(folder: Path) -> dict[str, str]:
    """What git itself tells of the same."""
    return {name: value for name, value in code_version(folder).items() if name in ("git.revision", "git.branch")}


def test_what_is_checked_out_is_read_from_files_as_git_tells_it(repository: Path, tmp_path: Path) -> None:
    below = repository / "a" / "b"
    below.mkdir(parents=True)
    assert checked_out(repository) == checked_out(below) == known(repository) != {}
    git(repository, "branch", "-m", "feature/é")
    git(repository, "pack-refs", "--all")
    assert checked_out(below)["git.branch"] == "feature/é"
    assert checked_out(below) == known(below)
    git(repository, "worktree", "add", "-q", "-b", "beside", str(tmp_path / "tree"))
    assert checked_out(tmp_path / "tree") == known(tmp_path / "tree") == {**known(repository), "git.branch": "beside"}
    git(repository, "checkout", "-q", "--detach")
    assert checked_out(repository) == known(repository)
    assert set(checked_out(repository)) == {"git.revision"}


@pytest.mark.parametrize(
    "head", [b"", b"\xff", b"ref: refs/heads/gone", b"ref: ../../../etc/passwd", b"ref: refs/heads"]
)
def test_what_no_file_tells_is_left_out(tmp_path: Path, head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked_out(tmp_path / "missing") == {}
    git(tmp_path, "init", "-q")
    assert checked_out(tmp_path) == {}
    (tmp_path / ".git" / "HEAD").write_bytes(head)
    assert checked_out(tmp_path) == {}
    (tmp_path / ".git" / "HEAD").write_text("0" * 40)
    assert checked_out(tmp_path) == {"git.revision": "0" * 40}
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert checked_out(tmp_path) == {}


secret = st.text("abcXYZ019%-_.~", min_size=1).map(lambda text: f"SECRET{text}")


@given(
    scheme=st.sampled_from(["https", "http", "ssh", "git"]),
    user=secret,
    password=secret | st.none(),
    query=secret | st.none(),
)
def test_no_secret_survives(scheme: str, user: str, password: str | None, query: str | None) -> None:
    userinfo = user if password is None else f"{user}:{password}"
    url = f"{scheme}://{userinfo}@example.org:8443/team/flights.git" + (f"?token={query}#{query}" if query else "")
    assert without_credentials(url) == f"{scheme}://example.org:8443/team/flights.git"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("", ""),
        ("../flights.git", "../flights.git"),
        ("ada@example.org:flights.git", "example.org:flights.git"),
        ("example.org:flights.git", "example.org:flights.git"),
        ("file:///srv/git/flights.git", "file:///srv/git/flights.git"),
        ("https://[broken/flights.git", ""),
    ],
)
def test_other_addresses(url: str, kept: str) -> None:
    assert without_credentials(url) == kept
