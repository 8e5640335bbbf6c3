"""Values that a model's parts take for missing, such as -999: read from the model itself, so that the proof asks for
them whatever a compiler made of them."""

from collections.abc import Iterator
from typing import Any, Final

_NAMES: Final = ("missing", "missing_values")
_DEEPEST: Final = 12


def is_gap(value: object) -> bool:
    """Whether a value is one of those that are missing to everybody: None, NaN, pandas's NA.

    >>> is_gap(None), is_gap(float("nan")), is_gap(-999)
    (True, True, False)
    """
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def sentinels_of(model: Any) -> list[float | str]:
    """The values that a fitted model or a part of it takes for missing beside those, each once.

    >>> from sklearn.impute import SimpleImputer
    >>> sentinels_of([SimpleImputer(missing_values=-1), SimpleImputer(), SimpleImputer(missing_values="?")])
    [-1.0, '?']
    """
    return list(dict.fromkeys(_found(model, set(), _DEEPEST)))


def _found(part: Any, seen: set[int], deeper: int) -> Iterator[float | str]:
    if not deeper or id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, list | tuple | dict):
        inner = list(part.values()) if isinstance(part, dict) else list(part)
    elif hasattr(part, "get_params") and hasattr(part, "__dict__"):
        inner = list(vars(part).values())
        for name in _NAMES:
            value = getattr(part, name, None)
            if isinstance(value, str):
                yield value
            elif isinstance(value, int | float) and not is_gap(value):
                yield float(value)
    else:
        return
    for one in inner:
        yield from _found(one, seen, deeper - 1)
