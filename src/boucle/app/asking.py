"""The questions of `boucle init` on a terminal: a proposal in brackets, `?` for why, a wrong answer is asked again."""

import os
import select
import sys

from boucle.app.wrapping import for_terminal
from boucle.project.proposal.interview import QUESTIONS, Asked, wrong
from boucle.project.shape import Plain

_NUMBERS = {"quality", "latency_ms", "availability", "lead_time_days", "labels_delay_days", "ahead_days"}
_WHOLE = {"reviews", "keep_days"}
_LISTS = {"known_later", "systems", "approvers"}


class Person:
    """Asks a person; questions go to standard error, so that standard output stays facts."""

    def __init__(self) -> None:
        self._chapter = ""
        self._typed = b""

    def __call__(self, asked: Asked) -> Plain:
        question = QUESTIONS[asked.key]
        if question.chapter != self._chapter:
            self._chapter = question.chapter
            keys = "Enter takes what stands in brackets, ? explains, Ctrl-C stops and writes nothing"
            _say(f"\n{question.chapter}  ({keys})\n")
        proposed = asked.likely if asked.proposed is None and not asked.optional else asked.proposed
        while True:
            _say(f"\n  {question.ask}\n" + (f"    {asked.why}\n" if asked.why else "") + f"  [{shown(proposed)}] ")
            text = self._line().strip()
            if text == "?":
                _say(f"    {question.explain}\n")
                if asked.allowed:
                    _say(f"    allowed: {', '.join(asked.allowed)}\n")
                continue
            answer = proposed if not text else read(asked.key, text, optional=asked.optional)
            message = wrong(asked, answer)
            if message is None:
                return answer
            _say(f"    {message}\n")

    def _line(self) -> str:
        """The next line that is typed; KeyboardInterrupt at the end of the input, as Ctrl-D makes it."""
        keyboard = sys.stdin.fileno()
        while b"\n" not in self._typed:
            # Polars has a plain read begin anew after Ctrl-C, so that Python never hears of it; select never does.
            select.select([keyboard], [], [])
            piece = os.read(keyboard, 4096)
            if not piece:
                raise KeyboardInterrupt
            self._typed += piece
        line, _, self._typed = self._typed.partition(b"\n")
        return line.decode(errors="replace")


def read(key: str, text: str, *, optional: bool) -> Plain:
    """A typed answer as the value that needs.yaml would hold; text that is no number stays text and is refused then.

    >>> read("reviews", "1", optional=False), read("time", "none", optional=True)
    (1, None)
    >>> read("systems", "a, b", optional=False)
    ['a', 'b']
    """
    if optional and text.casefold() == "none":
        return None
    if key in _LISTS:
        return [] if text.casefold() == "none" else [part.strip() for part in text.split(",") if part.strip()]
    if key in _NUMBERS | _WHOLE:
        try:
            number = float(text)
        except ValueError:
            return text
        return int(number) if number.is_integer() else number
    return text


def shown(proposed: Plain) -> str:
    """A proposal as it would be typed.

    >>> shown(["a", "b"]), shown([]), shown(0.999), shown(None)
    ('a, b', 'none', '0.999', 'none')
    """
    if isinstance(proposed, list):
        return ", ".join(str(one) for one in proposed) or "none"
    if isinstance(proposed, float):
        return f"{proposed:g}"
    return "none" if proposed is None else str(proposed)


def _say(text: str) -> None:
    sys.stderr.write(for_terminal(text, 2))
    sys.stderr.flush()
