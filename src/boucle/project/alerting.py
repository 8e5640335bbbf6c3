"""What the keys of the `alerts` section must be to each other. Pure."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from boucle.kernel.errors import InvalidInput
from boucle.models.webhooks.rules import host_of, split_url
from boucle.monitoring.alerting.policy import DEFAULT, AlertmanagerRoute, AlertsSection, EmailRoute, Route, fits
from boucle.monitoring.records import ALERT_KINDS
from boucle.monitoring.spans import duration
from boucle.project.problems import Path, Problem, Set, did_you_mean, listed, nearest


def alerting_problems(section: AlertsSection) -> Iterator[Problem]:
    """Every contradiction in a section whose single values are fine."""
    names: set[str] = set()
    for position, rule in enumerate(section.rules):
        path: Path = ("alerts", "rules", position)
        if rule.name in names or rule.name == DEFAULT.name:
            yield Problem((*path, "name"), f"`{rule.name}` names another rule already: choose another name")
        names.add(rule.name)
        yield from _kinds(rule.kinds, path)
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
        yield from _rules(route, names | {DEFAULT.name}, path)
        yield from _address(route, path)


def _kinds(patterns: list[str], path: Path) -> Iterator[Problem]:
    for position, pattern in enumerate(patterns):
        if not any(fits([pattern], kind) for kind in ALERT_KINDS):
            near, word = did_you_mean(pattern, ALERT_KINDS), nearest(pattern, ALERT_KINDS)
            message = f"`{pattern}` is like no kind of alert{near or ';'} there are {listed(ALERT_KINDS)}"
            place = (*path, "kinds", position)
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
