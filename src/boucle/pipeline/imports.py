"""Which first-party files a Python file imports, found by reading, not by running.

Seen are import statements anywhere in a file (also inside functions) and `import_module("literal")`. Not seen are names
computed at run time, and what only a type checker imports. Where a name could mean two files, both count: too much
only makes a step run again, too little would keep a stale result.
"""

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final

from msgspec import Struct

from boucle.kernel.digests import Digest, digest_bytes, digest_json
from boucle.kernel.errors import InvalidInput

_DYNAMIC: Final = ("import_module", "__import__")


class Import(Struct, frozen=True):
    """One imported name. `level` 0 is absolute; 1 is relative to the file's own package, 2 to its parent's."""

    level: int
    parts: tuple[str, ...]


class Root(Struct, frozen=True):
    """A folder in which absolute names are looked up."""

    label: str
    """Stands for the folder in digests, so that a project may move."""
    folder: Path
    package: str | None = None
    """If given, only this package in the folder is first-party."""

    def contains(self, file: Path) -> bool:
        """Whether a file is first-party because of this root."""
        return file.is_relative_to(self.folder / self.package if self.package else self.folder)


@lru_cache(maxsize=4096)
def imports_of(source: bytes, filename: str = "<source>") -> tuple[Import, ...]:
    """Every name that the source imports; `from a import b` gives `a.b`, where b may be a module or a value in a.

    Remembers what it parsed: a process that runs many pipelines over the same code parses it once.

    >>> [(found.level, ".".join(found.parts)) for found in imports_of(b"import a.b\\nfrom .c import d")]
    [(0, 'a.b'), (1, 'c.d')]
    """
    try:
        tree = ast.parse(source, filename)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{filename}:{line}" if line else filename
        raise InvalidInput(f"{where} is no valid Python: {getattr(error, 'msg', error)}") from None
    found: dict[Import, None] = {}
    for node in _statements(tree.body):
        if isinstance(node, ast.Import):
            found.update((Import(0, tuple(alias.name.split("."))), None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = tuple(node.module.split(".")) if node.module else ()
            names = [() if alias.name == "*" else (alias.name,) for alias in node.names]
            found.update((Import(node.level, parts + name), None) for name in names)
    if any(name.encode() in source for name in _DYNAMIC):
        found.update((Import(0, parts), None) for parts in _dynamic(tree))
    return tuple(found)


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All statements, nested ones included, but not those under `if TYPE_CHECKING:`."""
    for node in body:
        yield node
        blocks = ("orelse",) if _only_for_types(node) else ("body", "orelse", "finalbody", "handlers", "cases")
        for block in blocks:
            nested = getattr(node, block, None)
            if isinstance(nested, list):
                yield from _statements(nested)


def _only_for_types(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    test = node.test
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _dynamic(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            module = node.args[0].value
            if name in _DYNAMIC and isinstance(module, str) and module and not module.startswith("."):
                yield tuple(module.split("."))


class FirstParty:
    """Reads first-party files, each once, and follows their imports. A snapshot: make a new one to see later edits."""

    def __init__(self, roots: Iterable[Root]) -> None:
        self.roots = tuple(roots)
        self._read: dict[Path, tuple[Digest, list[Path]]] = {}
        self._walked: dict[tuple[Path, tuple[str, ...]], list[Path]] = {}

    def digest(self, start: Iterable[Path]) -> Digest:
        """Digest of the names and bytes of these files and of all that they import, transitively."""
        return digest_json({self._label(file): self._read[file][0] for file in self.files(start)})

    def files(self, start: Iterable[Path]) -> list[Path]:
        """These files and all that they import, transitively, sorted."""
        seen: set[Path] = set()
        waiting = list(start)
        while waiting:
            file = waiting.pop()
            if file not in seen:
                seen.add(file)
                waiting.extend(self._imported(file))
        return sorted(seen)

    def _imported(self, file: Path) -> list[Path]:
        if file not in self._read:
            with legible(file):
                source = file.read_bytes()
            imported = list(_packages_of(file))
            roots = self._roots_for(file)
            for found in imports_of(source, str(file)):
                if found.level:
                    base = file.parents[found.level - 1] if found.level <= len(file.parents) else file.parent
                    imported.extend(self._walk(base, found.parts))
                else:
                    homes = [root for root in roots if root.package in (None, found.parts[0])]
                    imported.extend(path for root in homes for path in self._walk(root.folder, found.parts))
            self._read[file] = (digest_bytes(source), imported)
        return self._read[file][1]

    def _walk(self, base: Path, parts: tuple[str, ...]) -> list[Path]:
        if (base, parts) not in self._walked:
            self._walked[base, parts] = list(_walk(base, parts))
        return self._walked[base, parts]

    def _roots_for(self, file: Path) -> tuple[Root, ...]:
        """The roots, and for a file in none of them the folder that holds its outermost package."""
        if any(root.contains(file) for root in self.roots):
            return self.roots
        folder = file.parent
        while (folder / "__init__.py").is_file():
            folder = folder.parent
        package = None if folder == file.parent else file.relative_to(folder).parts[0]
        return (*self.roots, Root(label="", folder=folder, package=package))

    def _label(self, file: Path) -> str:
        for root in self._roots_for(file):
            if root.contains(file):
                return f"{root.label}:{file.relative_to(root.folder).as_posix()}"
        return file.name


@contextmanager
def legible(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to read a file or folder within the block into InvalidInput."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(
            f"cannot read {str(error.filename or path)!r}: {error.strerror}",
            hint=f"make it readable for you: chmod u+r '{error.filename or path}'",
        ) from error


def _packages_of(file: Path) -> Iterator[Path]:
    """The `__init__.py` of every package that a file lies in; they run before it does."""
    for folder in file.parents:
        init = folder / "__init__.py"
        if not init.is_file():
            return
        if init != file:
            yield init


def _walk(base: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """The files that Python runs to import a dotted name below a folder; parts that name values give none."""
    for part in parts:
        package = base / part
        if (package / "__init__.py").is_file():
            yield package / "__init__.py"
        elif (module := base / f"{part}.py").is_file():
            yield module
            return
        elif not package.is_dir():
            return
        base = package
