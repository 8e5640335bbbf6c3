"""Every commit path in the source reaches a named point before and after what makes it durable."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import boucle
from boucle.kernel import points

SOURCE: Final = Path(boucle.__file__).parent
NAME: Final = re.compile(r"[a-z_]+(\.[a-z_]+)+")
SHARED: Final[frozenset[str]] = frozenset()
"""Names that several places reach on purpose, because the state is the same."""
TABLES: Final = frozenset({"data", "monitoring", "training", "evaluation", "loop"})
"""Rooms that work on tables: `rename` and `replace` are about columns there."""
_OF_OS: Final = {"rename", "renames", "replace", "link", "symlink", "unlink", "remove"}
_OF_PATH: Final = {"rename", "replace", "symlink_to", "hardlink_to", "unlink"}
_STATEMENTS: Final = {"execute", "exec_driver_sql", "text"}


def test_every_commit_path_reaches_a_point_before_and_after() -> None:
    missing = []
    for file, function in functions():
        actions = [call.line for call in calls(function) if _commits(file, call.node)]
        reached = [call.line for call in calls(function) if _name_of(call.node) == "reach"]
        if actions and not (reached and min(reached) < min(actions) and max(reached) > max(actions)):
            missing.append(f"{file}:{min(actions)} {function.name}")
    assert missing == [], "these functions make something durable: reach() a point before the first step and after all"


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


def test_the_rules_see_what_they_should(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text("""
def naked(path): path.replace(other)
def moved(path): os.rename(path, other)
def committed(raw): raw.execute("COMMIT")
def text(word): return word.replace("a", "b") + structs.replace(word, name=1) + at.replace(tzinfo=UTC)
""")
    tree = ast.parse(sample.read_text())
    found = {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and any(_commits("sample.py", call.node) for call in calls(function))
    }
    assert found == {"naked", "moved", "committed"}


class _Place(NamedTuple):
    line: int
    node: ast.Call


def named_points() -> Iterator[tuple[str, str]]:
    """Every name given to `reach` in the source, with its file and line; it fails for one that is computed."""
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and _name_of(node) == "reach":
                where = f"{file.relative_to(SOURCE)}:{node.lineno}"
                assert len(node.args) == 1, where
                assert isinstance(node.args[0], ast.Constant), where
                yield str(node.args[0].value), where


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield file.relative_to(SOURCE).as_posix(), node


def calls(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[_Place]:
    """The calls in a function's own body, those of functions defined within it left out."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Call):
            yield _Place(node.lineno, node)
        waiting.extend(ast.iter_child_nodes(node))


def _commits(file: str, call: ast.Call) -> bool:
    """Whether a call gives something its real name, takes it away, or makes it durable."""
    name = _name_of(call)
    if name in {"fsync", "fdatasync"}:
        return True
    if name in _STATEMENTS:
        return any(isinstance(arg, ast.Constant) and str(arg.value).upper().startswith("COMMIT") for arg in call.args)
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) and call.func.value.id == "os":
        return name in _OF_OS
    if name not in _OF_PATH or (name in {"rename", "replace"} and file.split("/")[0] in TABLES):
        return False
    texts = any(isinstance(arg, ast.Constant | ast.JoinedStr | ast.Dict) for arg in call.args)
    return name == "unlink" or (len(call.args) == 1 and not call.keywords and not texts)


def _name_of(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""
