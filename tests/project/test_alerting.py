"""Contradictions of the `alerts` section, each in its place."""

from pathlib import Path

import pytest
from msgspec import convert

from boucle.monitoring.alerting.policy import FIGURES, AlertsSection
from boucle.monitoring.records import ALERT_KINDS
from boucle.project.alerting import alerting_problems
from boucle.project.problems import dotted

HOOK = {"to": "webhook", "name": "hook", "url": "https://h.example.org/x", "secret_env": "S"}
MAIL = {"to": "email", "name": "mail", "host": "mail.example.org", "sender": "a@b.org", "recipients": ["c@d.org"]}
MANAGER = {"to": "alertmanager", "name": "am", "url": "http://am:9093"}

RULES = [
    ([{"name": "a", "kinds": ["drift"]}, {"name": "a"}], "alerts.rules[1].name", "names another rule"),
    ([{"name": "default"}], "alerts.rules[0].name", "names another rule"),
    ([{"name": "a", "kinds": ["drit"]}], "alerts.rules[0].kinds[0]", "did you mean `drift`"),
    ([{"name": "a", "evidence": {"psx": 0.1}}], "alerts.rules[0].evidence.psx", "did you mean `psi`"),
    ([{"name": "a", "kinds": ["decay"], "evidence": {"psi": 0.1}}], "alerts.rules[0].evidence.psi", "`measured`"),
    ([{"name": "a", "kinds": ["compl*"], "evidence": {"psi": 0.1}}], "alerts.rules[0].evidence.psi", "there are none"),
    ([{"name": "a"}, {"name": "b", "kinds": ["drift"]}], "alerts.rules[1]", "`a`, before it, takes all"),
    (
        [{"name": "a", "kinds": ["d*"], "subjects": ["t*"]}, {"name": "b", "kinds": ["drift"], "subjects": ["t*"]}],
        "alerts.rules[1]",
        "`a`, before it, takes all",
    ),
    ([{"name": "a", "opens_after": 3, "of_windows": 2}], "alerts.rules[0].of_windows", "at least as many"),
]
ROUTES = [
    ([HOOK, HOOK], "alerts.routes[1].name", "names another route"),
    ([HOOK | {"kinds": ["x*"]}], "alerts.routes[0].kinds[0]", "like no kind"),
    ([HOOK | {"rules": ["defalt"]}], "alerts.routes[0].rules[0]", "did you mean `default`"),
    ([HOOK | {"url_env": "U"}], "alerts.routes[0]", "exactly one of `url` and `url_env`"),
    ([{"to": "slack", "name": "chat"}], "alerts.routes[0]", "exactly one of `url` and `url_env`"),
    ([HOOK | {"url": "https://u:p@h/x"}], "alerts.routes[0].url", "no user or password"),
    ([MANAGER | {"url": "am:9093"}], "alerts.routes[0].url", "not allowed"),
    ([MANAGER | {"url": "http://am:9093?x"}], "alerts.routes[0].url", "holds a query"),
    ([MANAGER | {"repeat_every": "0d"}], "alerts.routes[0].repeat_every", "above 0"),
    ([MAIL | {"host": "a b"}], "alerts.routes[0].host", "no host"),
    ([MAIL | {"sender": "Ada <a@b.org>"}], "alerts.routes[0].sender", "no address"),
    ([MAIL | {"recipients": ["c@d.org", "e"]}], "alerts.routes[0].recipients[1]", "no address"),
    ([MAIL | {"user_env": "U"}], "alerts.routes[0]", "both `user_env` and `password_env`"),
    ([MAIL | {"user_env": "U", "password_env": "P", "security": "none"}], "alerts.routes[0].security", "read it"),
]


@pytest.mark.parametrize(
    ("key", "value", "path", "words"),
    [("rules", *case) for case in RULES] + [("routes", *case) for case in ROUTES],
)
def test_a_contradiction_is_named_in_its_place(key: str, value: object, path: str, words: str) -> None:
    found = list(alerting_problems(convert({key: value}, AlertsSection)))
    assert [(dotted(one.path), words in one.message) for one in found] == [(path, True)]


def test_a_subject_that_is_nothing_of_the_project_is_named() -> None:
    rules = [{"name": "a", "kinds": ["drift"], "subjects": ["tmep", "wind*"]}]
    section = convert({"rules": rules, "routes": [HOOK | {"subjects": ["x*"]}]}, AlertsSection)
    found = [(dotted(one.path), one.message) for one in alerting_problems(section, {"temp", "wind_speed"})]
    assert [path for path, _ in found] == ["alerts.rules[0].subjects[0]", "alerts.routes[0].subjects[0]"]
    assert "did you mean `temp`" in found[0][1]


def test_every_figure_of_a_signal_is_known_of_its_kind() -> None:
    """What the monitor says in its signals is what rules may ask for."""
    rooms = Path(__file__).parents[2] / "src" / "boucle"
    source = "".join((rooms / file).read_text() for file in ("monitoring/alerts.py", "loop/failures.py"))
    assert set(FIGURES) == set(ALERT_KINDS)
    assert {kind: tuple(sorted(names)) for kind, names in FIGURES.items()} == FIGURES
    for name in {one for names in FIGURES.values() for one in names} - set(FIGURES["slo"]):
        assert f'"{name}"' in source, name


def test_what_fits_is_no_problem() -> None:
    section = {
        "rules": [
            {"name": "a", "kinds": ["drift"], "subjects": ["t*"], "evidence": {"psi": 0.1}},
            {"name": "b", "kinds": ["d*"], "opens_after": 2, "of_windows": 3},
            {"name": "c", "kinds": ["d*", "check"]},
        ],
        "routes": [HOOK | {"rules": ["a", "def*"]}, MAIL, MANAGER, {"to": "slack", "name": "chat", "url_env": "U"}],
    }
    assert list(alerting_problems(convert(section, AlertsSection))) == []
