"""One wrong byte (or none at all) in each kind of file of a home: named, mended or harmless, never a wrong answer."""

import io
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from boucle.app.main import run_command
from boucle.kernel import audit
from boucle.kernel.care.layout import KINDS as LAYOUT
from boucle.kernel.care.layout import kind_of
from boucle.kernel.digests import digest_bytes, digest_file
from boucle.kernel.paths import write_atomic
from boucle.kernel.store import Store
from boucle.models.api import get_version
from boucle.pipeline.cache import Cache
from boucle.serving.compaction import compact
from boucle.serving.keys import add_key
from boucle.serving.log_rules import keep_rules
from boucle.serving.prediction_log import PredictionLog, read_frames
from boucle.serving.records import Ack, LogSection
from boucle.serving.traffic import log_folder, write_ack

pytestmark = pytest.mark.slow

COMMANDS = (["status"], ["models", "list"], ["models", "history"], ["run"], ["audit", "verify"])
ALLOWED = (0, 2, 4, 5)
"""Exit codes: the same answer, a project or a part that is no longer there, damage, a file that cannot be used."""
CHANGING = ("seconds", "state", "judged_at", "steps")
PLACES = (0.0, 0.5, 0.9)
AT = datetime(2013, 3, 1, tzinfo=UTC)


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
    home = folder / ".boucle"
    cache = Cache(home)
    cache.folder_of(version_of(home).bundle_digest)
    cache.keep_progress(digest_bytes(b"a step"), [1, 2])
    log = PredictionLog(log_folder(home, "orders"))
    for frame, _ in list(read_frames(log_folder(home, "orders")))[:2]:
        assert log.append(frame)
        log.close()
    compact(home, "orders", LogSection())
    write_atomic(log_folder(home, "orders") / "bound.json", b"{}")
    keep_rules(home, "orders", LogSection())
    write_ack(home, "orders", Ack(generation=1, pid=1))
    add_key(home, "orders", "app", per_second=None, now_ms=0)
    return folder, {" ".join(words): steady(tell(folder, words)[1]) for words in COMMANDS}


def version_of(home: Path) -> Any:
    with Store.open(home) as store:
        return get_version(store, "orders", "orders", 1)


def blob(home: Path, digest: str) -> Path:
    return home / "blobs" / digest[:2] / digest


def named_in(home: Path, table: str, column: str) -> Path:
    with closing(sqlite3.connect(home / "boucle.db")) as raw:
        return blob(home, raw.execute(f"SELECT max({column}) FROM {table}").fetchone()[0])


BLOBS = ("dataset", "evaluation", "bundle's tree", "profile", "labels", "predictions", "window's profile")
KINDS: dict[str, Callable[[Path, Any], Path]] = {
    "database": lambda home, _: home / "boucle.db",
    "audit head": lambda home, _: home / "audit-head.json",
    "dataset": lambda home, version: blob(home, version.dataset_digest),
    "evaluation": lambda home, version: blob(home, version.evaluation_digest),
    "bundle's tree": lambda home, version: blob(home, version.bundle_digest),
    "profile": lambda home, _: named_in(home, "dataset_versions", "profile_digest"),
    "labels": lambda home, _: named_in(home, "monitoring_labels", "digest"),
    "predictions": lambda home, _: named_in(home, "monitoring_windows", "predictions_digest"),
    "window's profile": lambda home, _: named_in(home, "monitoring_windows", "profile_digest"),
    "cached bundle": lambda home, _: next((home / "cache" / "bundles").glob("*/model.*")),
    "cache manifest": lambda home, _: min((home / "cache").glob("*.json")),
    "cached tree": lambda home, _: next((home / "cache" / "trees").glob("*/model.*")),
    "progress of a step": lambda home, _: next((home / "cache" / "progress").iterdir()),
    "served bundle": lambda home, _: next((home / "serving" / "bundles").glob("*/boucle.json")),
    "traffic": lambda home, _: home / "serving" / "orders" / "traffic.json",
    "acknowledgement": lambda home, _: home / "serving" / "orders" / "ack.json",
    "compacted log": lambda home, _: next((home / "serving" / "orders" / "log").glob("day=*/*.parquet")),
    "bound of the log": lambda home, _: home / "serving" / "orders" / "log" / "bound.json",
    "rules of the log": lambda home, _: home / "serving" / "orders" / "log.json",
    "keys": lambda home, _: home / "serving" / "orders" / "keys.json",
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
QUICK = ("wrong byte at 0.5", "half", "gone")
THOROUGH = ("database", "audit head", "bundle's tree", "cache manifest", "traffic")


def cases() -> list[Any]:
    """Every damage of every kind; `make test` takes all of some kinds and three of the others."""
    return [
        pytest.param(kind, damage, marks=[] if kind in THOROUGH or damage in QUICK else pytest.mark.long)
        for kind in KINDS
        for damage in DAMAGES
    ]


@pytest.mark.parametrize(("kind", "damage"), cases())
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
    if kind in BLOBS:
        mended = file.is_file() and digest_file(file) == file.name
        code, answer, _ = tell(project, ["fsck"])
        assert code == (0 if mended else 4)
        assert mended or file.name in {one["object"].rpartition("/")[2] for one in answer["problems"]}


@pytest.mark.long
@pytest.mark.parametrize("place", [number / 40 for number in range(40)])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("database", "project")])
def test_a_wrong_byte_anywhere(kind: str, place: float, whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """All but the database, since SQLite keeps no checksum of its pages (decision 0014), and the person's own file."""
    DAMAGES["here"] = flip(place)
    test_damage_is_named_or_mended_and_no_answer_is_wrong(kind, "here", whole, tmp_path)


LOG_PLACES = [number / 40 for number in range(40)]


@pytest.mark.parametrize(
    "place", [pytest.param(one, marks=[] if one in (0, 0.5) else pytest.mark.long) for one in LOG_PLACES]
)
def test_a_wrong_byte_in_the_log_of_the_database_shows_by_the_audit_head(
    place: float, whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """SQLite drops all from the wrong frame on; what is left is whole, and too short for the head kept outside."""
    source = Path(shutil.copytree(whole[0], tmp_path / "source"))
    home = source / ".boucle"
    with closing(sqlite3.connect(home / "boucle.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM audit_log").fetchone()  # so that nobody writes the log back
        with Store.open(home) as store:
            for number in range(10):
                store.write(
                    lambda connection, subject=str(number): audit.append(
                        connection, project_id="orders", actor="a", action="x", subject=subject, details={}, at=AT
                    )
                )
            before = [one.hash for one in store.read(lambda c: audit.records(c, project_id="orders"))]
        project = Path(shutil.copytree(source, tmp_path / "project"))
    (project / ".boucle" / "boucle.db-shm").unlink(missing_ok=True)
    flip(place)(project / ".boucle" / "boucle.db-wal")
    for words in COMMANDS:
        code, _, error = tell(project, words)
        assert code in ALLOWED, words
        assert "Traceback" not in error
    assert tell(project, ["audit", "verify"])[0] == 4
    with closing(sqlite3.connect(project / ".boucle" / "boucle.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        left = [one for (one,) in raw.execute("SELECT hash FROM audit_log WHERE action = 'x' ORDER BY sequence")]
    assert left == before[-10:][: len(left)]
    assert len(left) < 10


LEFT = {
    "boucle.db-shm": "boucle.db-shm",
    "boucle.db.lock*": "boucle.db.lock",
    "care.lock*": "care.lock",
    "identity.json": "identity.json",
    "parts.json": "parts.json",
    "blobs/present/<any>": "blobs/present/99999999-1-1",
    "blobs/use.lock*": "blobs/use.lock",
    "cache/work/**": "cache/work/99999999-a/file",
    "serving/.deploying.lock*": "serving/.deploying.lock",
    "serving/<endpoint>/traffic.lock*": "serving/orders/traffic.lock",
    "serving/<endpoint>/server.lock": "serving/orders/server.lock",
    "serving/<endpoint>/counters/slot-<any>": "serving/orders/counters/slot-00",
    "serving/<endpoint>/service/hour-<any>": "serving/orders/service/hour-007.json",
    "serving/<endpoint>/service/.<any>": "serving/orders/service/.hour-007.json.1",
    "serving/<endpoint>/server.log": "serving/orders/server.log",
    "blobs/incoming/<any>": "blobs/incoming/tmp1",
    ".<any>": ".audit-head.json.1",
    "cache/.<any>": "cache/.x.json.1",
    "cache/progress/.<any>": "cache/progress/.x.json.1",
    "cache/trees/.<any>/**": "cache/trees/.x.1/file",
    "cache/bundles/.<any>/**": "cache/bundles/.x.1/model.onnx",
    "serving/bundles/.<any>/**": "serving/bundles/.x.1/boucle.json",
    "serving/bundles/.<any>": "serving/bundles/.x.sig.1",
    "serving/bundles/<digest>.<digest>.sig": f"serving/bundles/{'0' * 64}.{'1' * 64}.sig",
    "serving/<endpoint>/.<any>": "serving/orders/.traffic.json.1",
    "serving/<endpoint>/log/.<any>": "serving/orders/log/.bound.json.1",
    "serving/<endpoint>/log/day=<any>/.<any>": "serving/orders/log/day=2020-01-01/.x.parquet.1",
    "damaged/<any>": "damaged/x",
}
"""Files whose bytes none of these commands asks, by their pattern: locks, what is being written, prints, signatures."""


def test_bytes_that_nobody_asks_change_no_answer(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    project = Path(shutil.copytree(whole[0], tmp_path / "project"))
    for name in LEFT.values():
        file = project / ".boucle" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\xff wrong bytes" * 3000)
    for words in COMMANDS:
        code, answer, _ = tell(project, words)
        assert code == 0, answer
        assert steady(answer) == whole[1][" ".join(words)]


def test_every_kind_of_file_in_a_home_is_hurt(whole: tuple[Path, dict[str, Any]]) -> None:
    home = whole[0] / ".boucle"
    files = [find(home, version_of(home)) for find in KINDS.values()]
    hurt = {kind_of(file.relative_to(home).as_posix()) for file in files if file.is_relative_to(home)}
    left = {kind_of(path) for path in LEFT.values()}
    assert {kind.pattern for kind in left if kind} == set(LEFT)
    apart = {"boucle.db-wal"}  # in a test of its own
    assert {kind.pattern for kind in (hurt | left) if kind} | apart == {kind.pattern for kind in LAYOUT}
