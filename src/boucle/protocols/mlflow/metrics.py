"""MLflow's doors to the history of metrics."""

import base64
import json
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Final, NamedTuple

from msgspec import Struct, field
from sqlalchemy import Connection

from boucle.identity.http import Request, Response, Route
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.protocols.mlflow.entities import Metric, number
from boucle.protocols.mlflow.errors import reply
from boucle.protocols.mlflow.messages import Named, asked, missing
from boucle.runs import history
from boucle.runs.history import Begin
from boucle.runs.hot_points import PointRow
from boucle.runs.limits import MAX_INT64, MIN_INT64, check_step, shown
from boucle.runs.read_ahead import ReadAhead


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

    ahead = ReadAhead[_Encoded](store)

    def get_history(request: Request) -> Response:
        message = asked(request, GetHistory)
        _check_key(message.metric_key)
        limit = message.max_results
        if limit is not None and limit <= 0:
            raise InvalidInput(f"max_results is {shown(limit)}; it must be a positive integer")
        limit = min(limit or history.MOST, history.MOST)
        begin = _begin(message.page_token) if message.page_token else None
        place = (request.project, message.run, message.metric_key)
        page = ahead.take((*place, begin, limit)) if begin else None
        is_quiet = page is not None or begin is None
        if page is None:
            page = store.read(_page(*place, begin, limit))
        following = page.following
        if following is not None and is_quiet and _LEAST_AHEAD <= limit <= history.PAGE:
            ahead.begin((*place, following, limit), _page(*place, following, limit))
        return Response(200, page.body)

    def get_bulk(request: Request) -> Response:
        message = asked(request, GetBulk)
        _check_key(message.metric_key)
        _check_runs(message.run_id, "run_id")
        limit = _within(message.max_results, history.PAGE)
        found = history.histories(store, request.project, message.run_id, message.metric_key, limit=limit)
        return reply({"metrics": _with_runs(message.metric_key, found)})

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
        return reply(Page(_with_runs(message.metric_key, found)))

    here = "/mlflow/metrics"
    return [
        Route("GET", f"{here}/get-history", "read", get_history),
        Route("GET", f"{here}/get-history-bulk", "read", get_bulk),
        Route("GET", f"{here}/get-history-bulk-interval", "read", get_interval),
    ]


_LEAST_AHEAD: Final = 2_500
"""Smaller pages are made as soon as they are asked for."""


class _Encoded(NamedTuple):
    """A page as it goes out, and where the next one begins if there is one."""

    body: bytes
    following: Begin | None


def _page(project: str, run_id: str, key: str, begin: Begin | None, limit: int) -> Callable[[Connection], _Encoded]:
    rows = history.history_query(project, run_id, key, begin, limit)

    def ask(conn: Connection) -> _Encoded:
        points, following = rows(conn)
        token = "" if following is None else _token(following)
        return _Encoded(reply(Page(_messages(key, points), token)).body, following)

    return ask


def _messages(key: str, rows: Sequence[PointRow], run_id: str = "") -> list[Metric]:
    """Messages straight from rows: `metric_messages` would need a second object for each point."""
    return [
        Metric(key, "NaN" if value is None else value if isfinite(value) else number(value), at_ms, step, run_id)
        for step, at_ms, value in rows
    ]


def _with_runs(key: str, found: Sequence[tuple[str, Sequence[PointRow]]]) -> list[Metric]:
    return [message for run_id, rows in found for message in _messages(key, rows, run_id)]


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
        raise InvalidInput(f"max_results is {shown(limit)}; it must be between 1 and {largest}")
    return limit


def _steps(first: int | None, last: int | None) -> tuple[int, int] | None:
    if first is None and last is None:
        return None
    if first is None or last is None:
        raise InvalidInput("If either start_step or end_step is specified, both must be specified.")
    check_step(first, "start_step")
    check_step(last, "end_step")
    return first, last


def _token(begin: Begin) -> str:
    return base64.urlsafe_b64encode(json.dumps([*begin.after, begin.rises]).encode()).decode()


def _begin(token: str) -> Begin:
    """Where a page begins.

    >>> _begin(_token(Begin((7, 1000, 0.5), True)))
    Begin(after=(7, 1000, 0.5), rises=True)
    """
    try:
        step, at_ms, value, rises = json.loads(base64.urlsafe_b64decode(token))
        if isinstance(value, float | None) and isinstance(rises, bool) and _is_int64(step) and _is_int64(at_ms):
            return Begin((step, at_ms, value), rises)
    except (ValueError, TypeError, RecursionError):
        pass
    raise InvalidInput(f"Invalid page token {token[:100]!r}; use the one of the page before")


def _is_int64(value: object) -> bool:
    return type(value) is int and MIN_INT64 <= value <= MAX_INT64
