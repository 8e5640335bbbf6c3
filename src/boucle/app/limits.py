"""Limits of a server as a command line gives them: `NAME=VALUE`, by the names of `serving.limits` in boucle.yaml."""

from collections.abc import Sequence

import msgspec

from boucle.kernel.errors import InvalidInput
from boucle.serving.records import LimitsSection


def limits(given: Sequence[str], otherwise: LimitsSection | None = None) -> LimitsSection:
    """What is given, and for the rest what holds otherwise; InvalidInput names what cannot be.

    >>> limits(["deadline_ms=250", "waiting=10"]).deadline_ms
    250.0
    """
    if not given:
        return otherwise or LimitsSection()
    from boucle.project.limits import LIMITS

    values = msgspec.to_builtins(otherwise or LimitsSection())
    for text in given:
        name, _, value = text.partition("=")
        if name not in values:
            raise InvalidInput(
                f"{text[:100]!r} names no limit; allowed are {', '.join(values)}", hint="--limit deadline_ms=250"
            )
        limit = LIMITS[LimitsSection, name]
        kind = int if name in ("waiting", "batch_rows") else float
        try:
            number = kind(value)
        except ValueError:
            number = float("nan")
        least, most, above = limit.at_least, limit.at_most, limit.above
        if not (
            (least is None or number >= least)
            and (most is None or number <= most)
            and (above is None or number > above)
            and number < float("inf")
        ):
            word = "a whole number" if kind is int else "a number"
            raise InvalidInput(f"{text[:100]!r}: allowed is {word} {limit.allowed}")
        values[name] = number
    return msgspec.convert(values, LimitsSection)
