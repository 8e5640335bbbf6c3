"""MLflow's doors to the history of metrics."""

import base64
import json
from collections.abc import Sequence
from math import isfinite

from msgspec import Struct, field

from boucle.identity.http import Request, Response, Route
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.protocols.mlflow.entities import Metric, metric_messages, number
from boucle.protocols.mlflow.errors import reply
from boucle.protocols.mlflow.messages import Named, asked, missing
from boucle.runs import history
from boucle.runs.hot_sqlite import PointRow
from boucle.runs.limits import MAX_INT64, check_step
from boucle.runs.records import MetricPoint


class GetHistory(Named, frozen=True, kw_only=True):
    """What `metrics/get-history` is sent."""

    metric_key: str = ""
    page_token: str = ""
    max_results: int | None = None


class GetBulk(Struct, frozen=True, kw_only=True):
    """What `metrics/get-history-bulk` is sent; a run for each `run_id`."""

    run_id: list[str] = field(default_factory=list)
    metric_key: str = ""
    max_results: int = history.PAGE


class GetInterval(Struct, frozen=True, kw_only=True):
    """What `metrics/get-history-bulk-interval` is sent."""

    run_ids: list[str] = field(default_factory=list)
    metric_key: str = ""
    start_step: int | None = None
    end_step: int | None = None
    max_results: int = history.MAX_SAMPLED


class Page(Struct, frozen=True, omit_defaults=True):
    """Some points, and what to ask for the next ones by."""

    metrics: list[Metric] = field(default_factory=list)
    next_page_token: str = ""


def routes(store: Store) -> list[Route]:
    """Every door."""

    def get_history(request: Request) -> Response:
        message = asked(request, GetHistory)
        _check_key(message.metric_key)
        limit = message.max_results
        if limit is not None and limit <= 0:
            raise InvalidInput(f"max_results is {limit:.6g}; it must be a positive integer")
        offset, rises = _begin(message.page_token)
        page = history.history(
            store,
            request.project,
            message.run,
            message.metric_key,
            offset=offset,
            limit=min(limit or history.MOST, history.MOST),
            rises=rises,
        )
        token = "" if page.next_offset is None else _token(page.next_offset, page.rises)
        return reply(Page(_of_rows(message.metric_key, page.points), token))

    def get_bulk(request: Request) -> Response:
        message = asked(request, GetBulk)
        _check_key(message.metric_key)
        _check_runs(message.run_id, "run_id")
        limit = _within(message.max_results, history.PAGE)
        found = history.histories(store, request.project, message.run_id, message.metric_key, limit=limit)
        return reply({"metrics": _with_runs(found)})

    def get_interval(request: Request) -> Response:
        message = asked(request, GetInterval)
        _check_key(message.metric_key)
        _check_runs(message.run_ids, "run_ids")
        found = history.sampled(
            store,
            request.project,
            message.run_ids,
            message.metric_key,
            steps=_steps(message.start_step, message.end_step),
            limit=_within(message.max_results, history.MAX_SAMPLED),
        )
        return reply(Page(_with_runs(found)))

    here = "/mlflow/metrics"
    return [
        Route("GET", f"{here}/get-history", "read", get_history),
        Route("GET", f"{here}/get-history-bulk", "read", get_bulk),
        Route("GET", f"{here}/get-history-bulk-interval", "read", get_interval),
    ]


def _of_rows(key: str, rows: Sequence[PointRow]) -> list[Metric]:
    """Messages straight from rows: `metric_messages` makes a second object for each point."""
    return [
        Metric(key, "NaN" if is_nan else value if isfinite(value) else number(value), at_ms, step)
        for step, at_ms, value, is_nan in rows
    ]


def _with_runs(found: Sequence[tuple[str, MetricPoint]]) -> list[Metric]:
    return [message for run_id, point in found for message in metric_messages([point], run_id)]


def _check_key(key: str) -> None:
    if not key:
        raise missing("metric_key")


def _check_runs(run_ids: Sequence[str], field: str) -> None:
    if not run_ids:
        raise missing(field)
    if len(run_ids) > history.MAX_RUNS:
        raise InvalidInput(f"{field} names {len(run_ids)} runs; a request can ask for at most {history.MAX_RUNS}")


def _within(limit: int, largest: int) -> int:
    if not 1 <= limit <= largest:
        raise InvalidInput(f"max_results is {limit:.6g}; it must be between 1 and {largest}")
    return limit


def _steps(first: int | None, last: int | None) -> tuple[int, int] | None:
    if first is None and last is None:
        return None
    if first is None or last is None:
        raise InvalidInput("If either start_step or end_step is specified, both must be specified.")
    check_step(first, "start_step")
    check_step(last, "end_step")
    return first, last


def _token(offset: int, rises: bool) -> str:
    return base64.urlsafe_b64encode(json.dumps({"offset": offset, "rises": rises}).encode()).decode()


def _begin(token: str) -> tuple[int, bool | None]:
    """Where a page begins, and what the first one found out about all points.

    >>> _begin(_token(25_000, True)), _begin("")
    ((25000, True), (0, None))
    """
    if not token:
        return 0, None
    try:
        told = json.loads(base64.urlsafe_b64decode(token))
        offset, rises = told["offset"], told.get("rises")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        offset = rises = None
    if not isinstance(offset, int) or not 0 <= offset <= MAX_INT64 or not isinstance(rises, bool | None):
        raise InvalidInput(f"Invalid page token {token[:100]!r}; use the one of the page before")
    return offset, rises
