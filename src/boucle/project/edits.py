"""Edits of a boucle.yaml that leave everything else as its author wrote it: comments, order, indentation, quotes."""

import json
import re
from collections.abc import Sequence
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode
from ruamel.yaml.tokens import AliasToken

from boucle.project.problems import Add, Edit, Give, Path, Remove, Rename, Set, Value

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})

_ORDER: Final = (Set, Rename, Remove, Add, Give)


def apply(text: str, edits: Sequence[Edit]) -> str:
    r"""The text with all edits made; their paths are those of `text` as it is given.

    >>> apply("data:\n  traget: late  # what we ask\n", [Rename(("data", "traget"), "target")])
    'data:\n  target: late  # what we ask\n'
    >>> apply("a: [x, y, z]\n", [Remove(("a", 0)), Remove(("a", 2)), Add(("b",), "w")])
    'a: [y]\nb: [w]\n'
    """
    # Values first, then names; items from the last one, so that the places of those before them stay.
    places = sorted(dict.fromkeys(edits), key=lambda edit: [str(part).zfill(9) for part in edit.path], reverse=True)
    for edit in sorted(places, key=lambda edit: _ORDER.index(type(edit))):
        text = _applied(text, edit)
    return text


def is_aliased(text: str) -> bool:
    """Whether one part stands for several (`*name`), so that an edit of one would change the others."""
    return any(isinstance(token, AliasToken) for token in YAML(typ="safe", pure=True).scan(text))


def scalar(value: Value) -> str:
    """A value as it is written in YAML.

    >>> scalar("late"), scalar("yes"), scalar("a: b"), scalar(3), scalar(True)
    ('late', '"yes"', '"a: b"', '3', 'true')
    """
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def _applied(text: str, edit: Edit) -> str:
    root = YAML(typ="safe", pure=True).compose(text)
    match edit:
        case Rename(path=path, to=to):
            key, _ = _entry(_node(root, path[:-1]), str(path[-1]))
            return _replaced(text, key.start_mark.index, key.end_mark.index, scalar(to))
        case Set(path=path, value=value):
            node = _node(root, path)
            return _replaced(text, node.start_mark.index, node.end_mark.index, scalar(value))
        case Remove(path=path):
            return _removed(text, _node(root, path[:-1]), path[-1])
        case Give(path=path, yaml=yaml):
            parent = _node(root, path[:-1])
            assert isinstance(parent, MappingNode)
            return _with_key(text, parent, str(path[-1]), yaml)
        case Add(path=path, value=value):
            parent = _node(root, path[:-1])
            assert isinstance(parent, MappingNode)
            if path[-1] not in [key.value for key, _ in parent.value]:
                return _with_key(text, parent, str(path[-1]), f"[{scalar(value)}]")
            key, items = _entry(parent, str(path[-1]))
            if not isinstance(items, SequenceNode):  # nothing stands behind the key, its mark is at whatever follows
                colon = text.index(":", key.end_mark.index) + 1
                return _replaced(text, colon, colon, f" [{scalar(value)}]")
            return _with_item(text, items, scalar(value))


def _node(root: Node, path: Path) -> Node:
    node = root
    for part in path:
        node = node.value[part] if isinstance(part, int) else _entry(node, part)[1]
    return node


def _entry(node: Node, key: str) -> tuple[Node, Node]:
    return next((name, value) for name, value in node.value if name.value == key)


def _replaced(text: str, first: int, end: int, by: str) -> str:
    return text[:first] + by + text[end:]


def _end(node: Node) -> int:
    """Where a node's last sign is; the end marks of blocks lie behind the comments that follow."""
    if not isinstance(node, MappingNode | SequenceNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _removed(text: str, parent: Node, at: str | int) -> str:
    assert isinstance(parent, MappingNode | SequenceNode)
    spans = [
        (item[0].start_mark.index, _end(item[1])) if isinstance(item, tuple) else (item.start_mark.index, _end(item))
        for item in parent.value
    ]
    place = at if isinstance(at, int) else [key.value for key, _ in parent.value].index(at)
    first, end = spans[place]
    if parent.flow_style:
        if place + 1 < len(spans):
            return _replaced(text, first, spans[place + 1][0], "")
        return _replaced(text, spans[place - 1][1] if place else first, end, "")
    line = text.rfind("\n", 0, first) + 1
    after = text.find("\n", end) + 1 or len(text)
    if len(spans) > 1:
        return _replaced(text, line, after, "")
    # The only item: what is left is an empty list or mapping behind its key.
    empty = "[]" if isinstance(parent, SequenceNode) else "{}"
    key_end = text.rfind(":", 0, first) + 1
    return text[:key_end] + f" {empty}" + text[key_end:line].rstrip("\n") + "\n" + text[after:]


def _with_item(text: str, node: SequenceNode, item: str) -> str:
    if node.flow_style or not node.value:
        at = _end(node.value[-1]) if node.value else node.end_mark.index - 1
        return _replaced(text, at, at, f", {item}" if node.value else item)
    last = node.value[-1]
    line = text.rfind("\n", 0, last.start_mark.index) + 1
    indent = text[line : last.start_mark.index].partition("-")[0]
    return _with_line(text, _end(last), f"{indent}- {item}")


def _with_key(text: str, parent: MappingNode, key: str, value: str) -> str:
    if parent.flow_style:
        at = _end(parent.value[-1][1]) if parent.value else parent.end_mark.index - 1
        return _replaced(text, at, at, f"{', ' if parent.value else ''}{key}: {value}")
    return _with_line(text, _end(parent), f"{' ' * parent.value[0][0].start_mark.column}{key}: {value}")


def _with_line(text: str, end: int, line: str) -> str:
    """The text with one more line after the one in which `end` lies."""
    after = text.find("\n", end)
    return f"{text}\n{line}\n" if after < 0 else f"{text[: after + 1]}{line}\n{text[after + 1 :]}"
