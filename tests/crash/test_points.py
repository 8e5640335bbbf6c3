"""Every commit path in the source reaches a named point before and after what makes it durable."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import boucle
from boucle.kernel import points

from .conftest import Ground, copy
from .steps import read, without_points

SOURCE: Final = Path(boucle.__file__).parent
NAME: Final = re.compile(r"[a-z_]+(\.[a-z_]+)+")
SHARED: Final[frozenset[str]] = frozenset()
"""Names that several places reach on purpose, because the state is the same."""
OWNERS: Final = {
    "app/access_log.py": "lines of the access log are added to a person's file; nothing of a store",
    "app/commands/completion.py": "adds a line to the start file of a person's shell; nothing of a store",
    "app/main.py": "opens the null device where nobody reads the output",
    "kernel/blobs.py": "blobs get their names",
    "kernel/care/backup.py": "a backup gets its name",
    "kernel/care/gc.py": "takes away what nothing needs",
    "kernel/care/repair.py": "sets damage aside",
    "kernel/care/restore.py": "a home gets its name",
    "kernel/care/turns.py": "locks, and takes away what killed processes left of theirs",
    "kernel/database.py": "reads within a transaction",
    "kernel/engines.py": "makes the database's file, empty and for its owner only",
    "kernel/group_commit.py": "the database's commit",
    "kernel/locks.py": "opens lock files",
    "kernel/migrations/runner.py": "the commit of a migration",
    "kernel/paths.py": "`write_atomic` and `sync_folder`, which the other rooms use",
    "kernel/presence.py": "the lock file of a process that works in a store",
    "kernel/trees.py": "folders by digest get their names",
    "pipeline/cache.py": "forgets the progress of a step that has its result",
    "runs/spool/spool.py": "what a program logs, until it is in the store",
    "serving/batch/result.py": "the predictions of a table get their name",
    "serving/board.py": "gives the memory that a server shares with its workers its size",
    "serving/code_main.py": "tells Linux which process to end where memory is short; no file",
    "serving/compaction.py": "takes away segments that are compacted, and parts beyond the log's bound",
    "serving/counters.py": "the file that a worker counts in",
    "serving/holding.py": "the lock file of an endpoint's server, which holds its address",
    "serving/loading.py": "forgets a model that a client had a server load",
    "serving/log_bound.py": "takes away segments beyond the bound of a log that nothing compacts",
    "serving/prediction_log.py": "frames are appended to segments",
    "serving/process.py": "opens the file that a server prints to",
    "serving/traffic.py": "forgets the acknowledgement of a server that has ended",
}
"""The only files that may name, remove, sync, commit or open for writing, and why."""
POINTLESS: Final = {
    ("kernel/care/backup.py", "copy", "write_bytes"): "a half snapshot in a folder that only this process uses",
    ("kernel/database.py", "_ask", "with connection"): "a transaction of a connection that only reads",
    ("kernel/database.py", "read_standing", "with connection"): "a transaction of a connection that only reads",
    ("kernel/group_commit.py", "__init__", "COMMIT"): "the name of an event of SQLAlchemy",
    ("serving/holding.py", "tell", "ftruncate"): "the lock counts, whatever its file says",
    ("serving/board.py", "make", "ftruncate"): "memory, which ends with the server",
    ("serving/code_main.py", "_end_with", "write_text"): "no file: a word to Linux about this process",
}
"""Steps that need no point, by file, function and step."""


@pytest.mark.slow
def test_every_commit_path_reaches_a_point_before_and_after() -> None:
    missing = {
        (file, one.scope.partition("(")[0], one.what): f"{file}:{one.line} {one.what} in {one.scope.partition('(')[0]}"
        for file, source in sources()
        for one in without_points(source)
    }
    assert [where for step, where in missing.items() if step not in POINTLESS] == [], (
        "these steps make something durable: reach() a point before and after each, in the same function"
    )
    assert set(POINTLESS) <= set(missing)


@pytest.mark.slow
def test_no_other_file_makes_anything_durable() -> None:
    found = {file: [one for one in read(source) if one.what != "reach"] for file, source in sources()}
    strangers = [
        f"{file}:{one.line} {one.what}" for file, all_of in found.items() if file not in OWNERS for one in all_of
    ]
    assert strangers == [], "use `kernel.paths.write_atomic`, blobs or the store, or become an owner of a commit path"
    assert {file for file, all_of in found.items() if all_of} == set(OWNERS)
    imported = [f"{file}:{one.line}" for file, all_of in found.items() for one in all_of if one.what == "import"]
    assert imported == [], "say `os.replace`, so that it can be seen where it stands"


@pytest.mark.slow
def test_every_name_is_a_literal_of_one_place() -> None:
    names = Counter(name for name, _ in named_points())
    assert all(NAME.fullmatch(name) for name in names), sorted(names)
    assert {name for name, count in names.items() if count > 1} == SHARED


def test_a_listener_hears_every_point_until_nobody_listens(tmp_path: Path) -> None:
    from boucle.kernel.paths import write_atomic

    heard: list[str] = []
    points.listen(heard.append)
    try:
        write_atomic(tmp_path / "file", b"bytes")
    finally:
        points.listen(None)
    write_atomic(tmp_path / "file", b"others")
    assert heard == ["file.written", "file.synced", "file.named", "folder.changed", "folder.synced", "file.kept"]


PLANTED: Final = {
    "a path's replace": "def f(tmp, path): tmp.replace(path)",
    "a path's replace by keyword": "def f(tmp, path): tmp.replace(target=path)",
    "a path's replace, unbound": "def f(tmp, path): Path.replace(tmp, path)",
    "a replace that is handed on": "def f(tmp, path): retry(tmp.replace, path)",
    "the driver's commit": "def f(raw): raw.commit()",
    "a connection as context": "def f(conn):\n with conn: conn.execute(sql)",
    "a new connection as context": "def f():\n with sqlite3.connect(path) as conn: conn.execute(sql)",
    "a transaction as context": "def f(engine):\n with engine.begin() as conn: conn.execute(sql)",
    "a script": "def f(raw): raw.executescript(sql)",
    "bytes in place": "def f(path): path.write_bytes(data)",
    "text in place": "def f(path): path.write_text(data)",
    "a touch": "def f(path): path.touch()",
    "a move": "import shutil\ndef f(): shutil.move(a, b)",
    "a move under another name": "import shutil as sh\ndef f(): sh.move(a, b)",
    "a rename from os": "import os as system\ndef f(): system.rename(a, b)",
    "a copy": "import shutil\ndef f(): shutil.copy(a, b)",
    "a statement in a variable": "def f(raw):\n sql = 'COMMIT'\n raw.execute(sql)",
    "a statement of small letters": "def f(raw): raw.execute('commit;')",
    "a lambda": "f = lambda a, b: a.replace(b)",
    "a lambda in a function with points": "def f():\n reach('a.b')\n g = lambda a, b: a.replace(b)\n reach('a.c')",
    "a function in a function with points": "def f():\n reach('a.b')\n def g(): a.replace(b)\n reach('a.c')",
    "a module": "import os\nos.replace(a, b)",
    "a class": "import os\nclass A:\n os.replace(a, b)",
    "getattr": "import os\ndef f(): getattr(os, 'replace')(a, b)",
    "three renames, two points": "def f():\n reach('a.b')\n a.rename(b)\n b.rename(c)\n c.rename(d)\n reach('a.c')",
    "no point before": "import os\ndef f():\n os.fsync(a)\n reach('a.b')",
    "no point after": "import os\ndef f():\n reach('a.b')\n os.fsync(a)",
}
FORBIDDEN: Final = {
    **{name: source for name, source in PLANTED.items() if "reach" not in source},
    "from os": "from os import replace as mv\ndef f(): mv(a, b)",
    "from shutil": "from shutil import move",
    "all of os": "from os import *",
    "open": "def f(): open(path, 'w')",
    "a path's open": "def f(path): path.open('ab')",
    "open in a mode not written out": "def f(path): path.open(mode=mode)",
    "os.open": "import os\ndef f(): os.open(path, os.O_WRONLY | os.O_CREAT)",
    "os.fdopen": "import os\ndef f(): os.fdopen(descriptor, 'wb')",
}
HARMLESS: Final = (
    "def f(word, at): return word.replace('a', 'b') + structs.replace(word, name=1) + at.replace(tzinfo=UTC)",
    "def f(table): return table.rename({'a': 'b'})",
    "import os\ndef f(path): return path.open('rb'), open(path), os.open(path, os.O_RDONLY)",
    "def f(home): return Store.open(home), session.open(stored=True)",
    "def f(self):\n with self.lock: self.count += 1",
    "import os\ndef f():\n reach('a.b')\n os.fsync(a)\n reach('a.c')\n b.rename(c)\n reach('a.d')",
)


@pytest.mark.parametrize("plant", PLANTED)
def test_a_step_without_points_is_seen(plant: str) -> None:
    assert without_points(PLANTED[plant])


@pytest.mark.parametrize("plant", FORBIDDEN)
def test_a_step_outside_its_owners_is_seen(plant: str) -> None:
    assert [one for one in read(FORBIDDEN[plant]) if one.what != "reach"]


@pytest.mark.parametrize("source", HARMLESS)
def test_what_only_looks_like_a_step_is_left_alone(source: str) -> None:
    assert without_points(source) == []
    assert {one.what for one in read(source)} <= {"reach", "fsync", "rename"}


@pytest.mark.slow
def test_a_real_run_reaches_a_point_between_any_two_steps(ground: Ground, fresh: Path, tmp_path: Path) -> None:
    """Watched from inside every process and thread of it: renames, removals, syncs and commits, however spelled."""
    folder = copy(fresh, tmp_path / "orders")
    notes = tmp_path / "notes"
    assert ground.run(folder, "run", CRASH_STEPS=str(notes)).code == 0
    threads: dict[str, list[list[str]]] = {}
    for line in notes.read_text().splitlines():
        thread, kind, name, where = line.split(" ", 3)
        threads.setdefault(thread, []).append([kind, name, where])
    steps = Counter(name for told in threads.values() for kind, name, _ in told if kind == "step")
    assert {"fsync", "replace", "unlink", "COMMIT"} <= set(steps), steps
    bare = []
    for told in threads.values():
        for before, step, after in zip([None, *told], told, [*told[1:], None], strict=False):
            if step[0] == "step" and not (before and after and before[0] == after[0] == "point"):
                bare.append((before, step, after))
    assert bare == []


def sources() -> Iterator[tuple[str, str]]:
    for file in sorted(SOURCE.rglob("*.py")):
        yield file.relative_to(SOURCE).as_posix(), file.read_text()


def named_points() -> Iterator[tuple[str, str]]:
    """Every name given to `reach` in the source, with its file and line; it fails for one that is computed."""
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and _name_of(node) == "reach":
                where = f"{file.relative_to(SOURCE)}:{node.lineno}"
                assert len(node.args) == 1, where
                assert isinstance(node.args[0], ast.Constant), where
                yield str(node.args[0].value), where


def _name_of(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""
