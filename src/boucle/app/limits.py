"""Limits of a server and its log as a command line gives them: `NAME=VALUE`, by the names that boucle.yaml has."""

from collections.abc import Sequence

import msgspec

from boucle.kernel.errors import InvalidInput
from boucle.serving.records import LimitsSection, LogSection


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


def log_of(given: Sequence[str], otherwise: LogSection | None = None) -> LogSection:
    """What is kept of the prediction log, likewise by the names of `serving.log`; columns are parted by commas.

    >>> log_of(["max_mb=500", "drop=name,city"]).drop
    ['name', 'city']
    """
    values = msgspec.to_builtins(otherwise or LogSection())
    for text in given:
        name, _, value = text.partition("=")
        if name not in values:
            raise InvalidInput(
                f"{text[:100]!r} is not said of a log; allowed are {', '.join(values)}", hint="--log max_mb=500"
            )
        values[name] = [one for one in value.split(",") if one] if name in ("redact", "drop") else value
    try:
        section = msgspec.convert(values, LogSection, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"--log: {error}", hint="--log max_mb=500") from error
    if not 0 < section.sample <= 1 or (section.max_mb is not None and section.max_mb < 1):
        raise InvalidInput("--log: allowed is a sample above 0, at most 1, and a max_mb of 1 or more")
    return section
