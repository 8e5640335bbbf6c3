"""`boucle export`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from boucle.app.session import session_of

if TYPE_CHECKING:
    from boucle.project.records import Project

Kind = Literal["prometheus", "prometheus-tests", "scrape", "grafana"]
RULES = "boucle.rules.yml"


def export(
    context: typer.Context,
    kind: Annotated[
        Kind,
        typer.Argument(
            help="`prometheus` (rules), `prometheus-tests` (for promtool), `scrape` (a prometheus.yml) or `grafana`."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where it goes; default: standard output.")
    ] = None,
    rules: Annotated[
        str, typer.Option(metavar="FILE", help="What `scrape` and `prometheus-tests` call the file of rules.")
    ] = RULES,
    control: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where `boucle up` answers, for `scrape`.")
    ] = "127.0.0.1:5000",
    token_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Holds the token of a user, for `scrape`; needed once there are users."),
    ] = None,
) -> None:
    """Write what other systems watch the project with, made from its objectives.

    Prometheus rules (burn rates of the objectives, drift, decay, checks, a log that loses), their unit tests, a
    configuration that scrapes both servers, or a Grafana dashboard.

    \b
    Example:
      boucle export prometheus -o boucle.rules.yml
      boucle export scrape -o prometheus.yml
      boucle export prometheus-tests -o tests.yml && promtool test rules tests.yml
      boucle export grafana -o dashboard.json
    """
    session = session_of(context)
    with session.open() as opened:
        project = opened.project
        text = _json(project) if kind == "grafana" else _yaml(_content(project, kind, rules, control, token_file))
    if out is None:
        typer.echo(text, nl=False)
        return
    from boucle.kernel.paths import write_atomic

    write_atomic(out.absolute(), text.encode(), mode=0o644)
    typer.echo(f"wrote {out}", err=True)


def _content(project: "Project", kind: Kind, rules: str, control: str, token_file: str | None) -> dict[str, Any]:
    from boucle.integrations import prometheus
    from boucle.integrations.rule_tests import rule_tests

    if kind == "prometheus":
        return prometheus.rules(project)
    if kind == "prometheus-tests":
        return rule_tests(project, rules)
    serving = f"{project.serving.host}:{project.serving.port}"
    return prometheus.scrape_config(project, control, serving, rules, token_file)


def _json(project: "Project") -> str:
    import msgspec

    from boucle.integrations.grafana import dashboard

    return msgspec.json.format(msgspec.json.encode(dashboard(project)), indent=2).decode() + "\n"


def _yaml(content: dict[str, Any]) -> str:
    from io import StringIO

    from ruamel.yaml import YAML

    writer, text = YAML(typ="safe", pure=True), StringIO()
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # its None means: sort
    writer.width = 10_000
    writer.dump(content, text)
    return text.getvalue()
