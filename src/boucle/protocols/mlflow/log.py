"""MLflow's doors by which a run is logged to: the hot ones, answered on the server's loop.

Each reads and checks its request, hands a batch to the inbox, and answers once that is durable.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import UNSET, Struct, UnsetType, field

from boucle.identity.http import Request, Response, Route
from boucle.kernel.errors import InvalidInput
from boucle.protocols.mlflow.errors import EMPTY
from boucle.protocols.mlflow.messages import KeyValue, Named, decode, missing
from boucle.runs import batch
from boucle.runs.batch import Batch, ModelPoint, Point
from boucle.runs.inbox import Inbox
from boucle.runs.limits import MAX_BATCH_BYTES, check_batch

_LARGEST: Final = 2 * MAX_BATCH_BYTES
"""Of a body; a batch that is past MLflow's limit but not far from it is refused in words of its own."""


class MetricMessage(Struct, frozen=True, gc=False):
    """A point of a metric, as a batch has it."""

    key: str = ""
    value: float | UnsetType = UNSET
    timestamp: int | UnsetType = UNSET
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LogMetric(Named, frozen=True, kw_only=True):
    """What `runs/log-metric` is sent."""

    key: str = ""
    value: float | UnsetType = UNSET
    timestamp: int | UnsetType = UNSET
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class OnePair(Named, frozen=True, kw_only=True):
    """What `runs/log-parameter` and `runs/set-tag` are sent."""

    key: str = ""
    value: str = ""


class LogBatch(Named, frozen=True, kw_only=True):
    """What `runs/log-batch` is sent."""

    metrics: list[MetricMessage] = field(default_factory=list)
    params: list[KeyValue] = field(default_factory=list)
    tags: list[KeyValue] = field(default_factory=list)


def routes(inbox: Inbox) -> list[Route]:
    """Every door."""

    async def log_metric(request: Request) -> Response:
        message = decode(await request.read(_LARGEST), LogMetric)
        run_id = message.run
        point = _point(message, "")
        await inbox.log(
            Batch(
                project_id=request.project,
                run_id=run_id,
                points=[point],
                model_points=_model_points([message], [point]) if message.model_id else [],
            )
        )
        return EMPTY

    async def log_parameter(request: Request) -> Response:
        message = decode(await request.read(_LARGEST), OnePair)
        params = [batch.param(message.key, message.value)]
        await inbox.log(Batch(project_id=request.project, run_id=message.run, params=params))
        return EMPTY

    async def set_tag(request: Request) -> Response:
        message = decode(await request.read(_LARGEST), OnePair)
        tags = [batch.tag(message.key, message.value)]
        await inbox.log(Batch(project_id=request.project, run_id=message.run, tags=tags))
        return EMPTY

    async def log_batch(request: Request) -> Response:
        body = await request.read(_LARGEST)
        if len(body) > MAX_BATCH_BYTES:
            raise InvalidInput(
                f"Batched logging API requests must be at most {MAX_BATCH_BYTES} bytes, got a request of size "
                f"{len(body)}.",
                hint="send it in several requests",
            )
        await inbox.log(batch_of(decode(body, LogBatch), request.project))
        return EMPTY

    return [
        Route("POST", "/mlflow/runs/log-metric", "write", log_metric),
        Route("POST", "/mlflow/runs/log-parameter", "write", log_parameter),
        Route("POST", "/mlflow/runs/set-tag", "write", set_tag),
        Route("POST", "/mlflow/runs/log-batch", "write", log_batch),
    ]


def batch_of(message: LogBatch, project_id: str) -> Batch:
    """A checked batch."""
    metrics = message.metrics
    check_batch(len(metrics), len(message.params), len(message.tags))
    params = [batch.param(one.key, one.value, f"params[{at}].") for at, one in enumerate(message.params)]
    batch.check_unique(params)
    points = _points(metrics)
    return Batch(
        project_id=project_id,
        run_id=message.run,
        points=points,
        params=params,
        tags=[batch.tag(one.key, one.value, f"tags[{at}].") for at, one in enumerate(message.tags)],
        model_points=_model_points(metrics, points),
    )


def _points(metrics: Sequence[MetricMessage]) -> list[Point]:
    """Points of a batch. The place of one that is wrong is looked for once one is: a thousand names of places would
    cost more than the points.
    """
    try:
        return [_point(metric, "") for metric in metrics]
    except InvalidInput:
        for at, metric in enumerate(metrics):
            _point(metric, f"metrics[{at}].")
        raise


def _point(metric: MetricMessage | LogMetric, where: str) -> Point:
    if metric.value is UNSET:
        raise missing(f"{where}value")
    if metric.timestamp is UNSET:
        raise missing(f"{where}timestamp")
    return batch.point(metric.key, metric.value, metric.step, metric.timestamp, where)


def _model_points(metrics: Sequence[MetricMessage | LogMetric], points: Sequence[Point]) -> list[ModelPoint]:
    return [
        ModelPoint(metric.model_id, point, metric.dataset_name or None, metric.dataset_digest or None)
        for metric, point in zip(metrics, points, strict=True)
        if metric.model_id
    ]
