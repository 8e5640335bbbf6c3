"""What in a source file makes something durable, gives it its name or takes it away, and where a point is missing.

    step     renames, links, removes, syncs, truncates, writes in place, commits: a point before and after each
    opening  opens a file for writing: no point of its own, since nothing has its name or is durable yet

Read from the syntax tree, so a name that is put together as the program runs is not seen; `test_points.py` watches a
real `boucle run` as well.
"""

import ast
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_OF_OS: Final = frozenset(
    {"rename", "renames", "replace", "link", "symlink", "unlink", "remove", "removedirs", "rmdir"}
    | {"truncate", "ftruncate", "fsync", "fdatasync", "sync"}
)
_OF_SHUTIL: Final = frozenset({"move", "copy", "copy2", "copyfile", "copytree", "copymode", "copystat"})
_ALWAYS: Final = frozenset(
    {"fsync", "fdatasync", "renames", "symlink", "symlink_to", "hardlink_to", "link_to", "unlink", "ftruncate"}
    | {"write_bytes", "write_text", "touch", "copyfile", "copy2", "copytree", "executescript"}
    | {"sink_parquet", "sink_csv", "sink_ipc", "write_ipc", "write_csv"}
)
"""Attributes that are steps whatever they are asked of."""
_TO_A_PATH: Final = frozenset({"replace", "rename"})
"""Of a path with one argument; of text, moments, tables and records with others."""
_FORBIDDEN_IMPORTS: Final = {"os": _OF_OS | {"open", "fdopen"}, "shutil": _OF_SHUTIL, "posix": _OF_OS | {"open"}}
_COMMIT: Final = re.compile(r"\s*(COMMIT|END)(\s+TRANSACTION)?\s*;?\s*", re.IGNORECASE)
_MODE: Final = re.compile("[rwxabtU+]{1,4}")
_READING: Final = frozenset({"O_RDONLY", "O_DIRECTORY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH"})
_STATEMENTS: Final = frozenset({"execute", "executemany", "exec_driver_sql"})
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class Found(NamedTuple):
    """One place in a file."""

    line: int
    column: int
    what: str
    """`reach`, `import`, `open`, or the name of the step."""
    scope: str
    """The innermost function with its line; `lambda`, a class or the module otherwise."""


def read(source: str) -> list[Found]:
    """Every step, opening, forbidden import and point of a file, in the order of the source."""
    tree = ast.parse(source)
    modules = {
        alias.asname or alias.name.partition(".")[0]: alias.name if alias.asname else alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = [
        Found(node.lineno, node.col_offset, what, scope)
        for node, scope in _in_scopes(tree, "module")
        if (what := _what(node, modules, called)) and hasattr(node, "lineno")
    ]
    # A call stands where its name does: `a.b(c).replace(d)` comes after what it is asked of.
    return sorted(found, key=lambda one: (one.line, one.column))


def without_points(source: str) -> list[Found]:
    """The steps that have no point before or after themselves in their own function, or no function of their own."""
    found = read(source)
    missing = []
    for scope in dict.fromkeys(one.scope for one in found):
        inside = [one for one in found if one.scope == scope and one.what not in ("import", "open")]
        for before, step, after in zip([None, *inside], inside, [*inside[1:], None], strict=False):
            if step.what == "reach":
                continue
            between = before is not None and after is not None and before.what == after.what == "reach"
            if not between or "(" not in scope:
                missing.append(step)
    return missing


def _in_scopes(node: ast.AST, scope: str) -> Iterator[tuple[ast.AST, str]]:
    for child in ast.iter_child_nodes(node):
        yield child, scope
        inner = scope
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{child.name}({child.lineno})"
        elif isinstance(child, _SCOPES):
            inner = f"{type(child).__name__} {child.lineno}"
        yield from _in_scopes(child, inner)


def _what(node: ast.AST, modules: dict[str, str], called: dict[int, ast.Call]) -> str | None:
    match node:
        case ast.ImportFrom(module=module, names=names):
            bad = _FORBIDDEN_IMPORTS.get(module or "", frozenset())
            return "import" if any(one.name in bad or (bad and one.name == "*") for one in names) else None
        case ast.Constant(value=str(value)):
            return "COMMIT" if _COMMIT.fullmatch(value) else None
        case ast.With(items=items) | ast.AsyncWith(items=items):
            return "with connection" if any(_commits_at_its_end(one.context_expr, node) for one in items) else None
        case ast.Call(func=ast.Name(id="reach")) | ast.Call(func=ast.Attribute(attr="reach")):
            return "reach"
        case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
            return name if name in _ALWAYS | _OF_OS | _OF_SHUTIL else None
        case ast.Call(func=ast.Name(id="open"), args=[_, *modes]):
            return "open" if _writes(modes, node) else None
        case ast.Attribute():
            return _what_of(node, modules, called.get(id(node)))
    return None


def _what_of(node: ast.Attribute, modules: dict[str, str], call: ast.Call | None) -> str | None:
    owner = node.value.id if isinstance(node.value, ast.Name) else ""
    name, module = node.attr, modules.get(owner)
    if module in ("os", "posix"):
        if name == "open":
            return "open" if call is None or not _only_reads(call) else None
        if name == "fdopen":
            return "open" if call is None or _writes(call.args[1:], call) else None
        return name if name in _OF_OS else None
    if module == "shutil":
        return name if name in _OF_SHUTIL else None
    if name in _ALWAYS:
        return name
    if name == "open":
        if call is None or owner[:1].isupper():  # `Store.open` and its like; `Path.open` is unlikely
            return "open" if owner == "Path" else None
        modes = call.args[1:] if module in ("io", "codecs", "gzip", "bz2", "lzma", "tarfile") else call.args
        return "open" if _writes(modes[:1], call) else None
    if name == "commit":
        return name if call is None or not call.args else None
    if name in _TO_A_PATH:
        return name if _takes_a_path(call, owner) else None
    return None


def _takes_a_path(call: ast.Call | None, owner: str) -> bool:
    if call is None or owner == "Path":
        return call is not None or owner != "structs"
    if any(one.arg in ("target", "dst") for one in call.keywords):
        return True
    texts = any(isinstance(arg, ast.Constant | ast.JoinedStr | ast.Dict | ast.DictComp) for arg in call.args)
    return len(call.args) == 1 and not call.keywords and not texts


def _writes(modes: list[ast.expr], call: ast.Call) -> bool:
    """Whether a file may be opened for writing; a mode that is not written out counts as one that does."""
    given = [*modes[:1], *(one.value for one in call.keywords if one.arg == "mode")]
    for mode in given:
        if not isinstance(mode, ast.Constant):
            return True
        if isinstance(mode.value, str) and _MODE.fullmatch(mode.value) and set(mode.value) & set("wax+"):
            return True
    return False


def _only_reads(call: ast.Call) -> bool:
    flags = [node for arg in call.args[1:2] for node in ast.walk(arg) if isinstance(node, ast.Attribute | ast.Name)]
    names = {node.attr if isinstance(node, ast.Attribute) else node.id for node in flags} - {"os"}
    return bool(names) and names <= _READING


def _commits_at_its_end(context: ast.expr, block: ast.With | ast.AsyncWith) -> bool:
    """`with connection:`, `with sqlite3.connect(...)` and `with engine.begin()` commit where their block ends."""
    match context:
        case ast.Call(func=ast.Attribute(attr="begin")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="sqlite3"), attr="connect")):
            return True
        case ast.Name() | ast.Attribute():
            return any(
                isinstance(node, ast.Attribute) and node.attr in _STATEMENTS
                for one in block.body
                for node in ast.walk(one)
            )
    return False
