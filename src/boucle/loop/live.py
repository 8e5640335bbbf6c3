"""The live stream of a project: what its predictions, windows and decisions are kept under, and how it begins."""

from datetime import date
from pathlib import Path
from typing import Final

from msgspec.structs import replace
from sqlalchemy import Connection

from boucle.kernel.errors import Damaged, InvalidInput, NotFound, Refused
from boucle.kernel.points import reach
from boucle.kernel.progress import Progress, Silent
from boucle.kernel.store import Store
from boucle.loop import store as tables
from boucle.loop.reconcile import train
from boucle.loop.records import Stream, Trained
from boucle.loop.stage import Stage
from boucle.models.api import alias, get_kept, get_version
from boucle.models.records import CHAMPION
from boucle.monitoring.api import first_day
from boucle.project.context import Context
from boucle.project.folder import NAME
from boucle.project.yaml_file import read_project
from boucle.runs.records import ParamValue
from boucle.runs.store import find as find_run

LIVE: Final = "live"
_TRAINED_BY_US: Final = "boucle run"


def live_stream(context: Context) -> Stream:
    """The stream, begun if it never was: with the version that is in charge now.

    Raises:
        NotFound: no version is in charge yet.
        InvalidInput: the loop cannot train what is in charge again.
    """
    store, name = context.store(), context.project.project
    known = store.read(lambda conn: tables.get_stream(conn, name, LIVE))
    if known is not None:
        return known
    if context.project.data.time is None or context.project.data.key is None:
        raise InvalidInput(
            "the live loop needs to know when each row was and by what its label is found; boucle.yaml names no "
            f"`data.{'time' if context.project.data.time is None else 'key'}`",
            hint="write data.time and data.key in boucle.yaml, then: boucle run",
        )
    now = alias(store, name, name, CHAMPION)
    if now is None or now.number is None:
        raise NotFound(f"no version of `{name}` is in charge yet", hint=_TRAINED_BY_US)
    number = now.number
    version = get_version(store, name, name, number)
    if version.dataset_digest is None or version.evaluation_digest is None:
        raise InvalidInput(
            f"version {number} of {name} is in charge, and it is not known what it was trained on; the loop trains "
            "again what `boucle run` trained",
            hint=_TRAINED_BY_US,
        )

    def begin(conn: Connection) -> Stream:
        return tables.get_stream(conn, name, LIVE) or tables.begin(conn, name, LIVE, first_version=number)

    return store.write(begin)


def live_stage(context: Context, held: Stream, first_day: date, progress: Progress | None = None) -> Stage:
    """What a process needs at hand that works on the live stream, whose oldest window begins on a day."""
    store, name = context.store(), context.project.project
    return Stage(
        context,
        held,
        _found(store, name, held.first_version),
        first_day=first_day,
        time=context.project.data.time or "",
        progress=progress or Silent(),
        is_live=True,
    )


def context_of_job(folder: Path, store: Store, name: str, job_id: str) -> Context:
    """A project as it was when a training was decided on, whatever its boucle.yaml says by now."""
    job = store.read(lambda conn: tables.get_job(conn, name, job_id))
    project = None if job is None else job.project
    # One that was decided on before this was kept.
    return Context(project or read_project(folder / NAME), folder, store.home, lent=store)


def train_job(context: Context, job_id: str, progress: Progress) -> Trained:
    """Do the training of a job, and keep what it came to; the controller records it.

    What refuses the training (a check, the data, the code) is what it came to, so that it is not tried for ever.
    """
    store, name = context.store(), context.project.project
    job = store.read(lambda conn: tables.get_job(conn, name, job_id))
    stream = store.read(lambda conn: tables.get_stream(conn, name, LIVE))
    if job is None or stream is None:
        raise NotFound(f"there is no job {job_id!r}", hint="boucle status")
    if job.trained is not None:
        return job.trained
    stage = live_stage(context, stream, first_day(store, name, LIVE) or job.day, progress)
    try:
        trained = train(stage, job)
    except (InvalidInput, Refused, Damaged) as error:
        trained = Trained(number=None, outcome=f"the training failed: {error.message}"[:1000])
    done = replace(job, state="trained", trained=trained)
    store.write(lambda conn: tables.keep_trained(conn, name, done))
    reach("job.trained")
    return trained


def _found(store: Store, name: str, number: int) -> dict[str, ParamValue]:
    """The parameters with which the first version was trained, which its run has."""
    run_id = get_kept(store, name, name, number).run_id
    run = store.read(lambda conn: find_run(conn, run_id))
    return dict(run.params) if run is not None else {}
