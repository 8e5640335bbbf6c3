"""One wrong byte (or none at all) in each kind of file of a home: named, mended or harmless, never a wrong answer."""

import io
import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from boucle.app.main import run_command
from boucle.kernel.store import Store
from boucle.models.api import get_version

pytestmark = pytest.mark.slow

COMMANDS = (["status"], ["models", "list"], ["models", "history"], ["run"], ["audit", "verify"])
ALLOWED = (0, 2, 4, 5)
"""Exit codes: the same answer, a project or a part that is no longer there, damage, a file that cannot be used."""
CHANGING = ("seconds", "state", "judged_at", "steps")
PLACES = (0.0, 0.5, 0.9)


def tell(project: Path, words: list[str]) -> tuple[int, Any, str]:
    """Exit code, what was told as JSON, and what stood on standard error."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = run_command([*words, "--project", str(project), "--json"])
    return code, json.loads(out.getvalue()) if out.getvalue() else None, err.getvalue()


def steady(answer: Any) -> Any:
    """An answer without what differs between two calls that did the same."""
    if isinstance(answer, dict):
        return {key: steady(value) for key, value in answer.items() if key not in CHANGING}
    return [steady(one) for one in answer] if isinstance(answer, list) else answer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, served_project: Path) -> tuple[Path, dict[str, Any]]:
    """A project whose steps are kept by this very Boucle, and what its commands say."""
    folder = Path(shutil.copytree(served_project, tmp_path_factory.mktemp("whole"), dirs_exist_ok=True))
    (folder / "boucle.toml").write_text("[boucle]\nlog_level = 'warning'\n", encoding="utf-8")
    assert tell(folder, ["run"])[0] == 0
    return folder, {" ".join(words): steady(tell(folder, words)[1]) for words in COMMANDS}


def version_of(home: Path) -> Any:
    with Store.open(home) as store:
        return get_version(store, "orders", "orders", 1)


def blob(home: Path, digest: str) -> Path:
    return home / "blobs" / digest[:2] / digest


KINDS: dict[str, Callable[[Path, Any], Path]] = {
    "database": lambda home, _: home / "boucle.db",
    "audit head": lambda home, _: home / "audit-head.json",
    "dataset": lambda home, version: blob(home, version.dataset_digest),
    "evaluation": lambda home, version: blob(home, version.evaluation_digest),
    "bundle's tree": lambda home, version: blob(home, version.bundle_digest),
    "cached bundle": lambda home, _: next((home / "cache" / "bundles").glob("*/model.treelite")),
    "cache manifest": lambda home, _: min((home / "cache").glob("*.json")),
    "served bundle": lambda home, _: next((home / "serving" / "bundles").glob("*/boucle.json")),
    "traffic": lambda home, _: home / "serving" / "orders" / "traffic.json",
    "prediction log": lambda home, _: next((home / "serving" / "orders" / "log").glob("segment-*.log")),
    "settings": lambda home, _: home.parent / "boucle.toml",
    "project": lambda home, _: home.parent / "boucle.yaml",
}


def flip(place: float) -> Callable[[Path], None]:
    def hurt(file: Path) -> None:
        data = bytearray(file.read_bytes())
        at = min(int(place * len(data)), len(data) - 1)
        data[at] ^= 0x41
        replaced(file, bytes(data))

    return hurt


def replaced(file: Path, data: bytes) -> None:
    mode = file.stat().st_mode
    file.chmod(0o600)
    file.write_bytes(data)
    file.chmod(mode & 0o777)


def as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    **{f"wrong byte at {place}": flip(place) for place in PLACES},
    "empty": lambda file: replaced(file, b""),
    "half": lambda file: replaced(file, file.read_bytes()[: file.stat().st_size // 2]),
    "a folder": as_folder,
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_named_or_mended_and_no_answer_is_wrong(
    kind: str, damage: str, whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    source, expected = whole
    project = Path(shutil.copytree(source, tmp_path / "project"))
    file = KINDS[kind](project / ".boucle", version_of(project / ".boucle"))
    DAMAGES[damage](file)
    codes = {}
    for words in COMMANDS:
        code, answer, error = tell(project, words)
        codes[" ".join(words)] = code
        assert code in ALLOWED, (words, answer)
        assert "Traceback" not in error
        if code == 0:
            assert steady(answer) == expected[" ".join(words)], words
        elif words != ["audit", "verify"] or code != 4:
            told = answer["error"]
            assert told["hint"]
            assert (
                file.name in told["message"]
                or file.name[:12] in told["message"]
                or str(file.parent.name) in told["message"]
            ), told
    if kind == "audit head" or (kind == "database" and damage in ("empty", "gone", "half")):
        assert codes["audit verify"] == 4


@pytest.mark.long
@pytest.mark.parametrize("place", [number / 40 for number in range(40)])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("database", "project")])
def test_a_wrong_byte_anywhere(kind: str, place: float, whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """All but the database, since SQLite keeps no checksum of its pages (decision 0014), and the person's own file."""
    DAMAGES["here"] = flip(place)
    test_damage_is_named_or_mended_and_no_answer_is_wrong(kind, "here", whole, tmp_path)
