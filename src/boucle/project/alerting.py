"""What the keys of the `alerts` section must be to each other. Pure."""

from collections.abc import Collection, Iterator
from typing import Final
from urllib.parse import urlsplit

from boucle.kernel.errors import InvalidInput
from boucle.models.webhooks.rules import host_of, split_url
from boucle.monitoring.alerting.policy import (
    DEFAULT,
    FIGURES,
    AlertmanagerRoute,
    AlertRule,
    AlertsSection,
    EmailRoute,
    Route,
    fits,
    takes_all_of,
)
from boucle.monitoring.records import ALERT_KINDS
from boucle.monitoring.spans import duration
from boucle.project.problems import Path, Problem, Rename, Set, did_you_mean, listed, nearest

OTHER_SUBJECTS: Final = frozenset(
    {"columns together", "freshness", "leakage", "loop", "requests refused", "the window can be judged", "volume"}
)
"""What alerts are about beside columns and metrics."""


def alerting_problems(section: AlertsSection, subjects: Collection[str] | None = None) -> Iterator[Problem]:
    """Every contradiction in a section whose single values are fine.

    `subjects`: all that alerts of the project can be about; without them patterns of subjects are not looked at.
    """
    names: set[str] = set()
    for position, rule in enumerate(section.rules):
        path: Path = ("alerts", "rules", position)
        if rule.name in names or rule.name == DEFAULT.name:
            yield Problem((*path, "name"), f"`{rule.name}` names another rule already: choose another name")
        names.add(rule.name)
        yield from _kinds(rule.kinds, path)
        yield from _figures(rule, path)
        if subjects is not None and not _names_controls(rule.kinds):
            yield from _subjects(rule.subjects, subjects, path)
        before = next((one for one in section.rules[:position] if takes_all_of(one, rule)), None)
        if before is not None:
            message = f"`{rule.name}` never takes a signal: `{before.name}`, before it, takes all that it would"
            yield Problem(path, f"{message}; write it before that one")
        if rule.of_windows is not None and rule.of_windows < rule.opens_after:
            message = f"{rule.of_windows} windows can't have {rule.opens_after} with a signal: write at least as many"
            yield Problem((*path, "of_windows"), message)
    told: set[str] = set()
    for position, route in enumerate(section.routes):
        path = ("alerts", "routes", position)
        if route.name in told:
            yield Problem((*path, "name"), f"`{route.name}` names another route already: choose another name")
        told.add(route.name)
        yield from _kinds(route.kinds, path)
        if subjects is not None and not _names_controls(route.kinds):
            yield from _subjects(route.subjects, subjects, path)
        yield from _rules(route, names | {DEFAULT.name}, path)
        yield from _address(route, path)


def _kinds(patterns: list[str], path: Path) -> Iterator[Problem]:
    for position, pattern in enumerate(patterns):
        if not any(fits([pattern], kind) for kind in ALERT_KINDS):
            near, word = did_you_mean(pattern, ALERT_KINDS), nearest(pattern, ALERT_KINDS)
            message = f"`{pattern}` is like no kind of alert{near or ';'} there are {listed(ALERT_KINDS)}"
            place = (*path, "kinds", position)
            yield Problem(place, message, fix=Set(place, word) if word else None)


def _figures(rule: AlertRule, path: Path) -> Iterator[Problem]:
    """A signal that lacks a figure which its rule asks for does not count: a typo would silence all."""
    kinds = [kind for kind in FIGURES if fits(rule.kinds, kind)]
    if rule.kinds and not kinds:  # told of its kinds
        return
    known = sorted({name for kind in kinds for name in FIGURES[kind]})
    for name in rule.evidence:
        if name not in known:
            near, word = did_you_mean(name, known), nearest(name, known)
            allowed = f"there are {listed(known)}" if known else "there are none"
            message = f"`{name}` is no figure of the signals that the rule takes{near or ';'} {allowed}"
            place = (*path, "evidence", name)
            yield Problem(place, message, at_key=True, fix=Rename(place, word) if word else None)


def _names_controls(kinds: list[str]) -> bool:
    """Whether alerts on controls are meant: of these there are as many subjects as there are gates and versions."""
    return bool(kinds) and fits(kinds, "compliance")


def _subjects(patterns: list[str], subjects: Collection[str], path: Path) -> Iterator[Problem]:
    for position, pattern in enumerate(patterns):
        if not any(fits([pattern], subject) for subject in subjects):
            near, word = did_you_mean(pattern, subjects), nearest(pattern, subjects)
            message = (
                f"`{pattern}` is like no column, metric or check{near or ';'} there are {listed(sorted(subjects))}"
            )
            place = (*path, "subjects", position)
            yield Problem(place, message, fix=Set(place, word) if word else None)


def _rules(route: Route, names: set[str], path: Path) -> Iterator[Problem]:
    for position, pattern in enumerate(route.rules):
        if not any(fits([pattern], name) for name in names):
            near, word = did_you_mean(pattern, names), nearest(pattern, names)
            message = f"`{pattern}` is like no rule{near or ';'} there are {listed(sorted(names))}"
            place = (*path, "rules", position)
            yield Problem(place, message, fix=Set(place, word) if word else None)


def _address(route: Route, path: Path) -> Iterator[Problem]:
    if isinstance(route, EmailRoute):
        yield from _email(route, path)
        return
    secret = getattr(route, "url_env", None)
    if (route.url is None) == (secret is None):
        yield Problem(path, "needs exactly one of `url` and `url_env`")
    if route.url is not None:
        wrong = address_problem(route.url)
        if wrong:
            yield Problem((*path, "url"), wrong)
        elif isinstance(route, AlertmanagerRoute) and urlsplit(route.url).query:
            yield Problem((*path, "url"), "holds a query: write the address without `?` and what follows")
    if isinstance(route, AlertmanagerRoute) and not duration(route.repeat_every):
        yield Problem((*path, "repeat_every"), "must be above 0: Alertmanager forgets what it is not told again")


def _email(route: EmailRoute, path: Path) -> Iterator[Problem]:
    try:
        host_of(route.host)
    except InvalidInput as error:
        yield Problem((*path, "host"), error.message)
    for place, address in (((*path, "sender"), route.sender), *_recipients(route, path)):
        if address.count("@") != 1 or not address.isascii() or any(sign in address for sign in " \r\n\t,;<>"):
            yield Problem(place, f"`{address[:60]}` is no address: write it plainly, such as oncall@example.org")
    if (route.user_env is None) != (route.password_env is None):
        yield Problem(path, "needs both `user_env` and `password_env`, or none of them")
    if route.security == "none" and route.user_env is not None:
        message = "would send the password so that anybody on the way can read it: write starttls or tls"
        yield Problem((*path, "security"), message)


def _recipients(route: EmailRoute, path: Path) -> list[tuple[Path, str]]:
    return [((*path, "recipients", position), one) for position, one in enumerate(route.recipients)]


def address_problem(url: str) -> str:
    """What is wrong with an address to call; empty if nothing is.

    >>> address_problem("https://hooks.example.org/a"), address_problem("ftp://h")[:30]
    ('', "webhook URL 'ftp://h' is not a")
    """
    try:
        host_of(split_url(url).hostname or "")
    except InvalidInput as error:
        return error.message
    return ""
