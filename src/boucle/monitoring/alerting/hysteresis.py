"""In which of the newest windows each signal came: by it alerts open late and close late, and do not flap. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from boucle.monitoring.alerting.policy import AlertRule
from boucle.monitoring.records import Alert


class Memory(Struct, frozen=True, kw_only=True):
    """The newest windows of a stream, and in which of them signals came that count."""

    windows: list[str] = field(default_factory=list)
    """Keys, in the order in which the windows closed."""
    seen: dict[str, list[str]] = field(default_factory=dict)
    """By `<kind>/<subject>`, of decay `<kind>/<subject>@<version>`: keys of windows, in that order."""
    silent: dict[str, list[str]] = field(default_factory=dict)
    """By kind: keys of windows that say nothing of it, such as those without rows."""


NOTHING: Final = Memory()
_MOST_SILENT: Final = 50
"""So many windows that are silent of something are remembered beside those that rules count."""


def subject_of(kind: str, subject: str, version: str = "") -> str:
    """What memory calls a kind and a subject, of a version where it is about one."""
    return f"{kind}/{subject}@{version}" if version else f"{kind}/{subject}"


def length(rules: Sequence[AlertRule]) -> int:
    """How many windows must be remembered for the rules to be judged; 0 where none looks back."""
    asked = [max(one.opens_after, one.of_windows or 0, one.closes_after or 0) for one in rules if looks_back(one)]
    return max(asked) + 1 if asked else 0


def looks_back(rule: AlertRule) -> bool:
    """Whether a rule asks for more than the newest window."""
    return rule.opens_after > 1 or rule.closes_after is not None


def remembered(memory: Memory, window: str, names: Iterable[str], most: int, *, silent: Collection[str] = ()) -> Memory:
    """The memory after a window with signals of these names, which says nothing of kinds that are `silent`. The same
    window again changes nothing.

    >>> after = remembered(Memory(windows=["1"], seen={"drift/x": ["1"]}), "2", ["drift/x"], 3)
    >>> after.windows, after.seen
    (['1', '2'], {'drift/x': ['1', '2']})
    >>> remembered(after, "2", ["drift/x"], 3) == after
    True
    """
    if not most:
        return NOTHING
    windows = [*(one for one in memory.windows if one != window), window]
    unheard = {one for keys in memory.silent.values() for one in keys} | ({window} if silent else set())
    heard = [one for one in windows if one not in unheard]
    first = windows.index(heard[-most]) if len(heard) >= most else 0
    windows = windows[first:][-most - _MOST_SILENT :]
    seen = _with(memory.seen, names, window, windows)
    return Memory(windows=windows, seen=seen, silent=_with(memory.silent, silent, window, windows))


def forgotten(memory: Memory, name: str) -> Memory:
    """The memory without a signal: what has closed begins anew."""
    return replace(memory, seen={one: found for one, found in memory.seen.items() if one != name})


def opens(rule: AlertRule, memory: Memory, name: str) -> bool:
    """Whether a signal that came in the newest window came often enough.

    >>> rule = AlertRule(name="twice", opens_after=2, of_windows=3)
    >>> opens(rule, Memory(windows=["1", "2", "3"], seen={"drift/x": ["1", "3"]}), "drift/x")
    True
    """
    if rule.opens_after <= 1:
        return True
    newest = memory.windows[-max(rule.of_windows or rule.opens_after, rule.opens_after) :]
    return sum(one in newest for one in memory.seen.get(name, [])) >= rule.opens_after


def quiet_windows(memory: Memory, alert: Alert, name: str) -> int:
    """So many windows have closed since one in which an open alert's signal came, of those that say something of it.
    `name`: what memory calls the alert."""
    seen = memory.seen.get(name)
    silent = memory.silent.get(alert.kind, [])
    if seen:
        return sum(one not in silent for one in memory.windows[memory.windows.index(seen[-1]) + 1 :])
    last = str(alert.seen_on or alert.opened_on)  # it is older than the memory, or than its rule
    return sum(one[: len(last)] > last and one not in silent for one in memory.windows)


def _with(
    known: Mapping[str, list[str]], names: Iterable[str], window: str, windows: Sequence[str]
) -> dict[str, list[str]]:
    """What is known of the newest windows, with one more under some names."""
    found = {name: [one for one in keys if one in windows] for name, keys in known.items()}
    for name in sorted(names):
        found[name] = [*(one for one in found.get(name, []) if one != window), window]
    return {name: keys for name, keys in found.items() if keys}
