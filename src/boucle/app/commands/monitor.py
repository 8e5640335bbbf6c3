"""`boucle monitor`"""

import typer

from boucle.app.session import session_of


def monitor(context: typer.Context) -> None:
    """Watch what the project's endpoint answers.

    Reads the prediction log as it grows, closes windows (`monitoring.window`), checks them, measures drift and what the
    labels say, opens and closes alerts, makes incidents of them and tells the routes of `alerts.routes`. Part of
    `boucle up`; alone, it runs until it is stopped.

    \b
    Example:
      boucle monitor
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        store = project.store()  # what cannot be opened is told now, and not waited for
        from boucle.app.parts import until_stopped
        from boucle.integrations.dispatch import Dispatcher
        from boucle.loop.monitor import run_monitor

        routes = Dispatcher(store, project.project.project, project.project.alerts)
        routes.start()
        try:
            until_stopped(lambda stopped: run_monitor(project, stopped, typer.echo))
        finally:
            routes.stop()
