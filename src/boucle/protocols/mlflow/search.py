"""MLflow's doors by which experiments and runs are searched."""

from typing import Final

from msgspec import Struct, field
from sqlalchemy import Connection

from boucle.identity.http import Request, Response, Route
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.protocols.mlflow.entities import (
    ExperimentMessage,
    Run,
    experiment_message,
    experiment_number,
    run_message,
)
from boucle.protocols.mlflow.errors import reply
from boucle.protocols.mlflow.messages import asked
from boucle.runs.experiments import DEFAULT, has_begun, load_experiments, unbegun
from boucle.runs.search.experiments import search_experiments
from boucle.runs.search.runs import MOST_RUNS, View, search_runs
from boucle.runs.views import load_views

_VIEWS: Final[dict[str, View]] = {
    "ACTIVE_ONLY": "active",
    "DELETED_ONLY": "deleted",
    "ALL": "all",
    "1": "active",
    "2": "deleted",
    "3": "all",
}
_PAGE: Final = 1000


class SearchExperiments(Struct, frozen=True, kw_only=True):
    """What `experiments/search` is sent."""

    max_results: int = _PAGE
    page_token: str = ""
    filter: str = ""
    order_by: list[str] = field(default_factory=list)
    view_type: str | int = "ACTIVE_ONLY"


class SearchRuns(Struct, frozen=True, kw_only=True):
    """What `runs/search` is sent."""

    experiment_ids: list[str] = field(default_factory=list)
    filter: str = ""
    run_view_type: str | int = "ACTIVE_ONLY"
    max_results: int = _PAGE
    order_by: list[str] = field(default_factory=list)
    page_token: str = ""


class FoundExperiments(Struct, frozen=True, omit_defaults=True):
    """A page of experiments."""

    experiments: list[ExperimentMessage] = field(default_factory=list)
    next_page_token: str | None = None


class FoundRuns(Struct, frozen=True, omit_defaults=True):
    """A page of runs."""

    runs: list[Run] = field(default_factory=list)
    next_page_token: str | None = None


def routes(store: Store) -> list[Route]:
    """Every door."""

    def of_experiments(request: Request) -> Response:
        message = asked(request, SearchExperiments)
        view = _view(message.view_type)

        def ask(conn: Connection) -> FoundExperiments:
            page = search_experiments(
                conn,
                request.project,
                filter_text=message.filter,
                view=view,
                order_by=message.order_by,
                max_results=message.max_results,
                page_token=message.page_token or None,
            )
            found = load_experiments(conn, request.project, page.items)
            return FoundExperiments([experiment_message(one) for one in found], page.token)

        found = store.read(ask)
        if not found.experiments and not message.filter and view != "deleted" and not has_begun(store, request.project):
            found = FoundExperiments([experiment_message(unbegun(request.project))])
        return reply(found)

    def of_runs(request: Request) -> Response:
        message = asked(request, SearchRuns)
        numbers = [experiment_number(text) for text in message.experiment_ids]

        def ask(conn: Connection) -> FoundRuns:
            page = search_runs(
                conn,
                request.project,
                numbers,
                filter_text=message.filter,
                view=_view(message.run_view_type),
                order_by=message.order_by,
                max_results=message.max_results,
                page_token=message.page_token or None,
            )
            return FoundRuns([run_message(run) for run in load_views(conn, page.items)], page.token)

        return reply(store.read(ask))

    return [
        Route("POST", "/mlflow/experiments/search", "read", of_experiments),
        Route("GET", "/mlflow/experiments/search", "read", of_experiments),
        Route("POST", "/mlflow/runs/search", "read", of_runs),
    ]


def warm(store: Store, project: str) -> None:
    """Ask for what is often asked for once: the first search of its kind takes twice as long, for what SQLAlchemy makes
    of its statements and keeps. On the way for few runs and on that for many, whatever is stored.
    """

    def ask(conn: Connection) -> None:
        for text, order in (("", []), ("metrics.m > 0", ["metrics.m DESC"]), ("params.p = 'v' AND tags.t = 'v'", [])):
            for few in (-1, MOST_RUNS):
                found = search_runs(conn, project, [DEFAULT], filter_text=text, order_by=order, max_results=1, few=few)
                load_views(conn, found.items)

    store.read(ask)


def _view(asked_for: str | int) -> View:
    found = _VIEWS.get(str(asked_for))
    if found is None:
        raise InvalidInput(f"the view type is {str(asked_for)[:40]!r}; allowed are ACTIVE_ONLY, DELETED_ONLY and ALL")
    return found
