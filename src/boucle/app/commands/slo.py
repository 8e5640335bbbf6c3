"""`boucle slo`"""

from typing import TYPE_CHECKING

import typer

from boucle.app.session import AsJson, session_of

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table
    from rich.text import Text

    from boucle.loop.service import ServiceReport
    from boucle.monitoring.slo import Burn, SloStatus

_WIDTH = 20


def slo(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how much of each service objective's budget is left, and how fast it burns.

    The objectives on availability, errors, latency and throughput over `monitoring.slo.period_days`; what the processes
    use and, with `monitoring.cost`, what a thousand predictions cost.

    \b
    Example:
      boucle slo
      boucle slo --json | jq .burning
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json
        from boucle.loop.service import service_report

        report = service_report(project)
        if as_json:
            print_json(report)
            return
        screen = console(session.color)
        if report.watched_since is None:
            screen.print(f"{report.project} was not served in the newest {report.period_days:g} days; next: boucle up")
        else:
            screen.print(
                f"{report.project}: the newest {report.period_days:g} days, watched for {report.usage.hours:,.1f} "
                f"hours since {report.watched_since:%Y-%m-%d %H:%M} UTC"
            )
        if report.objectives:
            screen.print(budgets(report.objectives))
        else:
            screen.print("no objective asks for availability, error_rate, latency or requests_per_minute")
        for line in [*_used(report), *parts(project.home)]:
            screen.print(line)


def budgets(found: "list[SloStatus]") -> "Table":
    """Budgets as bars, and how fast they burn."""
    from rich.text import Text

    from boucle.app.console import mark, table

    rules = [f"{_hours(burn)} ({burn.factor:g})" for burn in found[0].burns]
    rows: list[list[str | Text]] = [
        [
            mark(None if one.good_share is None else one.burning is None and (one.budget_left or 0) > 0),
            one.metric,
            one.required,
            "-" if one.good_share is None else f"{one.good_share:.4%}",
            bar(one.budget_left),
            *(_rate(burn) for burn in one.burns),
        ]
        for one in found
    ]
    columns = ("", "objective", "target", "good", "budget left", *rules)
    return table("Service objectives, burn rate by window (alert above)", columns, rows, right=("good", *rules))


def bar(left: float | None) -> "Text":
    """A budget as a bar and a number.

    >>> bar(0.5).plain
    '██████████░░░░░░░░░░ 50%'
    """
    from rich.text import Text

    if left is None:
        return Text("-")
    full = round(max(0.0, min(1.0, left)) * _WIDTH)
    style = "green" if left > 0.25 else "yellow" if left > 0 else "bold red"
    return Text("█" * full + "░" * (_WIDTH - full), style=style) + Text(f" {left:.0%}")


def _hours(burn: "Burn") -> str:
    from boucle.monitoring.slo import duration

    return f"{duration(burn.long_s)}/{duration(burn.short_s)}"


def _rate(burn: "Burn") -> "Text":
    from rich.text import Text

    rates = (burn.long_rate, burn.short_rate)
    words = "/".join("-" if rate is None else f"{rate:.1f}" for rate in rates)
    return Text(words, style="bold red" if burn.burning else "")


def _used(report: "ServiceReport") -> "list[str]":
    usage, lines = report.usage, []
    if report.requests_per_minute is not None:
        lines.append(f"{report.requests_per_minute:,.1f} requests a minute over the newest hour")
    if usage.hours:
        lines.append(
            f"{usage.predictions:,.0f} predictions took {usage.cpu_hours:,.3f} core hours and "
            f"{usage.memory_gb_hours:,.2f} GB hours" + _price(report)
        )
    disk = report.disk
    lines.append(
        f"disk: the home has {_gb(report.home_bytes)}, {_gb(disk.free_bytes)} of {_gb(disk.total_bytes)} are free"
    )
    for gpu in report.gpus:
        busy = "" if gpu.busy_percent is None else f", {gpu.busy_percent:.0f}% busy"
        memory = f"{_gb(gpu.memory_used_bytes)} of {_gb(gpu.memory_total_bytes)}"
        lines.append(f"GPU {gpu.index} ({gpu.name}): {memory} in use{busy}")
    return lines


def _price(report: "ServiceReport") -> str:
    usage = report.usage
    if usage.cost is None:
        return "; monitoring.cost has no prices"
    if usage.cost_per_thousand is None:
        return f"; {usage.cost:,.4f} so far"
    return f"; {usage.cost_per_thousand:,.4f} per thousand predictions"


def parts(home: "Path") -> list[str]:
    """What each part of `boucle up` uses, a line each."""
    from boucle.app.part_use import parts_use

    return [
        f"{name}: {_gb(use.memory_bytes)}, {use.cpu_s:,.1f} s of processor time, {use.processes} "
        f"process{'es' if use.processes > 1 else ''}"
        for name, use in parts_use(home).items()
    ]


def _gb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
