"""Words on a terminal of any width, broken between words. Loads nothing before it is needed."""

import os
from typing import Final

_NARROWEST: Final = 20
"""Narrower terminals break words."""


def for_terminal(text: str, file: int) -> str:
    """A text as the terminal behind a file descriptor shows it best; as it is if there is no terminal."""
    try:
        width = os.get_terminal_size(file).columns
    except OSError:
        return text
    return wrapped(text, max(width, _NARROWEST)) if width else text


def wrapped(text: str, width: int) -> str:
    """A text with its longer lines broken between words; each piece is indented as its line was.

    >>> wrapped("what is it?\\n  a word and [more] ", 12)
    'what is it?\\n  a word and\\n  [more] '
    """
    return "\n".join(line if len(line) <= width else _broken(line, width) for line in text.split("\n"))


def _broken(line: str, width: int) -> str:
    from textwrap import wrap

    indent, end = line[: len(line) - len(line.lstrip())], line[len(line.rstrip()) :]
    pieces = wrap(
        line.strip(),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(pieces) + end
