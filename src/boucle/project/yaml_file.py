"""Reads a boucle.yaml (YAML 1.2) into a `Project`, or says with file and line what is wrong with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import inspect
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from boucle.kernel.errors import InvalidInput, InvalidProject, NotFound, Unavailable
from boucle.project import problems
from boucle.project.folder import NAME
from boucle.project.problems import Problem, ProblemsFound, quoted
from boucle.project.records import Project
from boucle.project.shape import Plain, problems_of
from boucle.project.validate import validate

MAX_BYTES = 1_000_000
MAX_VALUES = 100_000
"""Aliases let a short file grow without end; this stops it."""
MOST_LEVELS = 100
"""Aliases let it nest deeper than it looks."""

_HINT = "edit {file}, then: boucle check"
_TAG = "tag:yaml.org,2002:"

Place = tuple[int, int]
"""Line and column, from 1."""


def read_project(path: Path) -> Project:
    """The project that a file describes.

    Raises InvalidProject with all problems found, in the order of the file, one a line; `details["problems"]` has them
    as data.
    """
    return parse_project(read_text(path), path.name)


def parse_project(text: str, file: str) -> Project:
    """The project that a text describes, as `read_project` reads it from a file of that name."""
    document = Document(file)
    value = document.plain(_compose(text, file))
    found = [*document.problems, *problems_of(value, inspect.type_info(Project))]
    if not found:
        project = msgspec.convert(value, Project)
        found = list(validate(project))
        if not found:
            return project
    raise document.error(found)


def read_document(path: Path) -> tuple["Document", Plain]:
    """Any other YAML file of a project as plain values, and what knows where each of them stands."""
    document = Document(path.name)
    return document, document.plain(_compose(read_text(path), path.name))


def read_value(text: str, name: str) -> Plain:
    """A single value as it would stand in a boucle.yaml; InvalidInput, by a name, if it is no YAML."""
    document = Document(name)
    value = document.plain(_compose(text, name))
    if document.problems:
        raise document.error(document.problems)
    return value


@contextmanager
def named_in(folder: Path) -> Iterator[None]:
    """What is said inside about a key, which only the data show to be wrong, names its line in the folder's file.

    An InvalidInput names the key as `details["key"]`, or a metric that some key holds as `details["metric"]`.
    """
    try:
        yield
    except InvalidInput as error:
        path = folder / NAME
        if not {"key", "metric"} & error.details.keys() or not path.is_file():
            raise
        document, value = read_document(path)
        key = _path_of(value, str(error.details.get("key", "")), error.details.get("metric"))
        placed = document.error([Problem(key, error.message)])
        raise InvalidProject(placed.message, hint=error.hint, details={**error.details, **placed.details}) from error


def _path_of(value: Plain, key: str, metric: object) -> problems.Path:
    """The path of a dotted key, or of the first key that holds a metric."""
    if key:
        return tuple(key.split("."))
    objectives = _at(value, "objectives")
    places: list[problems.Path] = [("training", "metric"), ("loop", "metric")]
    places += [("objectives", place, "metric") for place in range(len(objectives or ()))]  # type: ignore[arg-type]
    return next((place for place in places if _at(value, *place) == metric), ())


def _at(value: Plain, *path: str | int) -> Plain:
    for part in path:
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        else:
            return None
    return value


class Document:
    """Turns a tree of YAML nodes into plain values and remembers where each stands."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._keys: dict[problems.Path, Place] = {}
        self._values: dict[problems.Path, Place] = {}
        self._scalars = YAML(typ="safe", pure=True).constructor
        self._count = 0
        self._open: list[Node] = []

    def plain(self, node: Node, path: problems.Path = ()) -> Plain:
        """The node's value; mistakes that only YAML can have go to `problems`."""
        self._values[path] = _place(node.start_mark)
        self._count += 1
        if self._count > MAX_VALUES or any(node is parent for parent in self._open):
            raise self.error(
                [Problem(path, "the aliases (`*name`) refer to themselves or multiply: write the values out")]
            )
        if len(self._open) == MOST_LEVELS:
            raise self.error([Problem(path[:1], "lists or mappings are nested too deep")])
        self._open.append(node)
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            if isinstance(node, SequenceNode):
                return [self.plain(item, (*path, position)) for position, item in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._open.pop()

    def error(self, found: list[Problem]) -> ProblemsFound:
        """One error that names all problems with their places."""
        rows = []
        for problem in found:
            line, column = self._place_of(problem)
            rows.append(
                {
                    "file": self.file,
                    "line": line,
                    "column": column,
                    "path": problems.dotted(problem.path),
                    "message": problem.message,
                }
            )
        rows.sort(key=lambda row: (row["line"], row["column"]))
        lines = [f"{row['file']}:{row['line']}: {row['path'] or 'the file'}: {row['message']}" for row in rows]
        message = lines[0] if len(lines) == 1 else f"{self.file} has {len(lines)} problems:\n" + "\n".join(lines)
        return ProblemsFound(message, hint=self._hint(found), details={"problems": rows}, found=found)

    def _hint(self, found: list[Problem]) -> str:
        mended = sum(problem.fix is not None for problem in found)
        if not mended:
            return _HINT.format(file=self.file)
        which = "it" if mended == len(found) == 1 else "them" if mended == len(found) else f"{mended} of them"
        return f"`boucle check --fix` mends {which}; or {_HINT.format(file=self.file)}"

    def _place_of(self, problem: Problem) -> Place:
        path = problem.path
        if problem.at_key and path in self._keys:
            return self._keys[path]
        while path and path not in self._values:
            path = path[:-1]
        value = self._values.get(path, (1, 1))
        # An empty value or a block begins on a later line than the key that a person looks for.
        return min(value, self._keys[path]) if path in self._keys and value[0] != self._keys[path][0] else value

    def _mapping(self, node: MappingNode, path: problems.Path) -> dict[str, Plain]:
        result: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in result:
                first = self._keys[*path, key][0]
                self._keys[*path, key] = _place(key_node.start_mark)
                message = f"the key is written twice, first in line {first}: keep one of them"
                self.problems.append(Problem((*path, key), message, at_key=True))
                continue
            self._keys[*path, key] = _place(key_node.start_mark)
            result[key] = self.plain(value_node, (*path, key))
        return result

    def _key(self, node: Node, path: problems.Path) -> str | None:
        if isinstance(node, ScalarNode) and node.tag == _TAG + "merge":
            self._keys[*path, "<<"] = _place(node.start_mark)
            message = "merge keys are not part of YAML 1.2: write the keys out"
            self.problems.append(Problem((*path, "<<"), message, at_key=True))
            return None
        if not isinstance(node, ScalarNode):
            self.problems.append(Problem(path, "a key must be text, not a list or a mapping"))
            return None
        return str(node.value)

    def _scalar(self, node: Node, path: problems.Path) -> Plain:
        if node.tag in (_TAG + "str", _TAG + "timestamp"):
            return str(node.value)
        if node.tag in (_TAG + "int", _TAG + "float", _TAG + "bool", _TAG + "null"):
            try:
                value: Plain = self._scalars.construct_object(node)
            except (ValueError, KeyError, IndexError):  # a tag that was written out beside what it does not fit
                what = str(node.tag).removeprefix(_TAG)
                told = "not a number: check its digits" if what in ("int", "float") else f"no value of `!!{what}`"
                self.problems.append(Problem(path, f"{quoted(node.value)} is {told}"))
                return None
            return value
        message = f"the tag {quoted(str(node.tag))} is not allowed: remove it, plain YAML is enough"
        self.problems.append(Problem(path, message))
        return None


def read_text(path: Path) -> str:
    """The text of a boucle.yaml; InvalidInput if it is too large or not UTF-8."""
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except FileNotFoundError:
        raise NotFound(
            f"there is no file {path}", hint=f"create {path}; `boucle schema` prints what may stand in it"
        ) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
    hint = _HINT.format(file=path.name)
    if size > MAX_BYTES:
        raise InvalidProject(f"{path.name} has {size} bytes: at most {MAX_BYTES} are allowed", hint=hint)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{path.name}:{line}: the byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8"
        raise InvalidProject(message, hint=hint) from None


def _compose(text: str, file: str) -> Node:
    hint = _HINT.format(file=file)
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise InvalidProject(f"{file}{line}: not valid YAML: {_yaml_words(error)}", hint=hint) from None
    except YAMLError as error:
        position = getattr(error, "position", 0)
        line_number = text.count("\n", 0, position) + 1
        raise InvalidProject(
            f"{file}:{line_number}: a control character is not allowed in YAML: remove it", hint=hint
        ) from None
    except RecursionError:
        raise InvalidProject(f"{file}: lists or mappings are nested too deep", hint=hint) from None
    if node is None:
        message = f"{file} is empty: it needs at least the keys `project` and `data`"
        raise InvalidProject(message, hint=f"edit {file}; `boucle schema` prints what may stand in it")
    return node


def _yaml_words(error: MarkedYAMLError) -> str:
    text = str(error.problem or error.context or "unreadable")
    if r"'\t'" in text:
        return "a tab is used for indentation: use spaces"
    if "but found another document" in text:
        return "a second document begins (`---`): keep one"
    context = f" {error.context}" if error.context and error.problem else ""
    return f"{text}{context}".replace("'<stream end>'", "the end of the file")


def _place(mark: StringMark) -> Place:
    return mark.line + 1, mark.column + 1
