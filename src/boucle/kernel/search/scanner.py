"""Reading a text of the search language from left to right; every character is looked at a fixed number of times."""

import re
from typing import Final, NoReturn

from boucle.kernel.errors import InvalidInput

LONGEST_TEXT: Final = 256 * 1024
_SPACE: Final = re.compile(r"\s*")
_BARE: Final = re.compile(r"[\w.]+")
_SYMBOLS: Final = re.compile(r"[<>=!]+")
_WORD: Final = re.compile(r"[A-Za-z]+(?!\w)")
_NUMBER: Final = re.compile(r"-?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?(?![\w.])", re.ASCII)
_NAME_QUOTES: Final = {"`": re.compile(r"`([^`]+)`"), '"': re.compile(r'"([^"]+)"'), "'": re.compile(r"'([^']+)'")}
_TEXT_QUOTES: Final = {
    "'": (re.compile(r"'((?:[^'\\]|''|\\'?)*+)'"), re.compile(r"'((?:[^']|'')*+)'")),
    '"': (re.compile(r'"((?:[^"\\]|""|\\"?)*+)"'), re.compile(r'"((?:[^"]|"")*+)"')),
}
"""The second of each is for a text that ends with a backslash."""
_SHOWN: Final = 24
_TOLD: Final = 200


class Scanner:
    """A text and how far it is read. `title` says in messages what the text is."""

    def __init__(self, text: str, title: str) -> None:
        self.text = text
        self.title = title
        self.at = 0
        if len(text) > LONGEST_TEXT:
            raise InvalidInput(f"{title} has {len(text):,} characters; allowed are at most {LONGEST_TEXT:,}")
        if "\0" in text:
            raise InvalidInput(f"{title} has a null character at character {text.index(chr(0)) + 1}; remove it")
        self.skip()

    def skip(self) -> None:
        """Go past white space."""
        found = _SPACE.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self.at == len(self.text)

    def take(self, literal: str) -> bool:
        """Read this punctuation, and the space after it, if it comes next."""
        if not self.text.startswith(literal, self.at):
            return False
        self.at += len(literal)
        self.skip()
        return True

    def take_word(self, *words: str) -> bool:
        """Read these words, in any case, if they come next; all of them or none."""
        start = self.at
        for word in words:
            found = _WORD.match(self.text, self.at)
            if found is None or found[0].upper() != word:
                self.at = start
                return False
            self.at = found.end()
            self.skip()
        return True

    def number(self) -> str | None:
        """The text of a number, if one comes next."""
        return self._read(_NUMBER, 0)

    def symbols(self) -> str | None:
        """A comparator of signs, known or not, if one comes next."""
        return self._read(_SYMBOLS, 0)

    def string(self) -> str | None:
        """A text in single or double quotes, if one comes next: what stands between them, as it stands.

        A doubled quote or one after a backslash does not end it.
        """
        patterns = _TEXT_QUOTES.get(self.text[self.at : self.at + 1])
        if patterns is None:
            return None
        found = self._read(patterns[0], 1)
        if found is None:
            found = self._read(patterns[1], 1)
        if found is None:
            self.fail("a text whose quote is not closed", "a text in quotes, as in 'adam'")
        return found

    def name(self) -> list[str]:
        """The parts of a key: [attribute], or [family, key]. White space ends it."""
        first, quoted = self._part()
        if not quoted and "." in first:
            family, _, rest = first.partition(".")
            if rest:
                return [family, rest]
            return [family, self._part()[0]]
        if self.text.startswith(".", self.at):
            self.at += 1
            return [first, self._part()[0]]
        return [first]

    def _part(self) -> tuple[str, bool]:
        quotes = _NAME_QUOTES.get(self.text[self.at : self.at + 1])
        found = (quotes or _BARE).match(self.text, self.at)
        if found is None:
            self.fail(self.next(), "a key, as in metrics.acc, params.lr, tags.`a b` or start_time")
        self.at = found.end()
        if quotes is None and self.text[self.at : self.at + 1] in {"-", "/", ":", "@", "$", "#", "+", "*"}:
            self.fail(f"{self.text[self.at]!r} in a key", f"such a key in backticks, as in {self._in_backticks(found)}")
        return (found[1], True) if quotes else (found[0], False)

    def _in_backticks(self, start: re.Match[str]) -> str:
        whole = re.compile(r"[^\s=<>!'\"`,()]*").match(self.text, start.start())
        family, dot, key = (whole[0][:_SHOWN] if whole else start[0]).partition(".")
        return f"{family}.`{key}`" if dot else f"`{family}`"

    def next(self) -> str:
        """What comes next, as messages show it."""
        if self.is_done():
            return "the end"
        rest = self.text[self.at : self.at + _SHOWN + 1]
        return repr(rest if len(rest) <= _SHOWN else rest[:_SHOWN] + "...")

    def fail(self, found: str, allowed: str, *, at: int | None = None) -> NoReturn:
        """Refuse the text: what was found where, and what is allowed there."""
        where = (self.at if at is None else at) + 1
        raise InvalidInput(
            f"{self.title}, character {where}: found {cut(found)}; expected {allowed}", details={"character": where}
        )

    def _read(self, pattern: re.Pattern[str], group: int) -> str | None:
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        self.skip()
        return found[group]


def cut(text: str) -> str:
    """What a message repeats of a text that somebody sent."""
    return text if len(text) <= _TOLD else f"{text[:_TOLD]}..."
