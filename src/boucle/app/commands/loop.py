"""`boucle loop`"""

from typing import TYPE_CHECKING

import typer

from boucle.app.commands import loop_explain, loop_retrain, loop_simulate
from boucle.app.session import session_of

if TYPE_CHECKING:
    from threading import Event

app = typer.Typer(
    name="loop",
    help="The loop: decide after each closed window, train, promote, roll back.",
    no_args_is_help=True,
)
app.command()(loop_explain.explain)
app.command()(loop_simulate.simulate)
app.command()(loop_retrain.retrain)


@app.command()
def run(context: typer.Context) -> None:
    """Decide on what the monitor sees, and act.

    After each closed window: gather the facts, decide by `loop` in boucle.yaml, carry it out. Trainings run in a
    process of their own. Of several loops on one store one decides, the others wait. Part of `boucle up`; alone, it
    runs until it is stopped.

    \b
    Example:
      boucle loop run
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        project.store()  # what cannot be opened is told now, and not waited for
        from boucle.app.parts import until_stopped
        from boucle.app.training import start
        from boucle.loop.controller import run_loop

        def decide(stopped: "Event") -> None:
            name = project.project.project
            run_loop(project, lambda job: start(project.folder, project.home, name, job.id), stopped, typer.echo)

        until_stopped(decide)
