"""`boucle compact`"""

import typer

from boucle.app.session import AsJson, session_of


def compact(context: typer.Context, as_json: AsJson = False) -> None:
    """Turn the prediction logs into Parquet, one folder a day.

    A running server does this by itself. What is kept stands in boucle.yaml under serving.log: a sample, columns
    without their values, a bound on the disk. Of other projects' logs that is kept which those said last. The newest
    segment stays as it is.

    \b
    Example:
      boucle compact
      python -c "import polars; print(polars.read_parquet('.boucle/serving/flights/log/day=*/*.parquet'))"
    """
    session = session_of(context)
    home = session.stored_home()
    project = session.project_file()

    from boucle.app.console import console, print_json, table
    from boucle.app.log_keeping import UNKNOWN
    from boucle.kernel.schema import is_current
    from boucle.serving.care import endpoints
    from boucle.serving.compaction import Compacted
    from boucle.serving.compaction import compact as engine
    from boucle.serving.holding import is_held
    from boucle.serving.owner import log_rules
    from boucle.serving.traffic import log_folder

    is_current(home / "boucle.db")  # the log of a newer store is not ours to write anew
    ours, said = session.project_name(), None if project is None else project.serving.log
    done: dict[str, Compacted] = {}
    left: list[str] = []
    unknown: list[str] = []
    for name in endpoints(home):
        section = log_rules(home, ours, said, name)  # also for its server, which may be another project's
        if section is None:
            unknown += [name] if log_folder(home, name).is_dir() else []
        elif is_held(home, name):
            left.append(name)
        else:
            done[name] = engine(home, name, section)
    if as_json:
        print_json({"compacted": done, "served": left, "unknown": unknown})
        return
    screen = console(session.color)
    if done:
        columns = ("endpoint", "segments", "rows", "rows beyond the bound", "log, MB")
        rows = [
            (
                name,
                f"{one.segments:,}",
                f"{one.rows:,}",
                f"{one.bound.dropped_rows:,}",
                f"{one.size_bytes / 1e6:,.1f}",
            )
            for name, one in done.items()
        ]
        screen.print(table("", columns, rows, right=columns[1:]))
    for name, one in done.items():
        for segment in one.damaged:
            screen.print(f"{name}: {segment} has wrong bytes and is left as it is; boucle fsck tells more")
    for name in left:
        screen.print(f"{name} is served at this moment: its server does it")
    for name in unknown:
        screen.print(f"{name} is left as it is: {UNKNOWN}")
    if not (done or left or unknown):
        screen.print("no endpoint has a log yet")
