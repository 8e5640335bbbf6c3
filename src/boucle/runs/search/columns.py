"""The columns behind what filters and orders of experiments, runs and logged models name."""

from typing import Any, Final

from sqlalchemy import ColumnElement, String, and_, case, cast, func, literal

from boucle.kernel.search.compiler import Entity, Family
from boucle.runs.tables import (
    datasets,
    experiment_tags,
    experiments,
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
    run_datasets,
    run_metrics,
    run_params,
    run_tags,
    runs,
)

_CONTEXT: Final = '$."mlflow.data.context"'


def _dataset(value: ColumnElement[Any]) -> Family:
    table = run_datasets.join(datasets, datasets.c.id == run_datasets.c.dataset)
    return Family(table, run_datasets.c.run == runs.c.seq, datasets.c.name, value)


RUN: Final = Entity(
    attributes={
        "run_id": runs.c.id,
        "run_name": runs.c.name,
        # Statuses are asked for by the names that MLflow has for them.
        "status": case((runs.c.status == "interrupted", "KILLED"), else_=func.upper(runs.c.status)),
        "user_id": runs.c.user,
        "artifact_uri": literal("mlflow-artifacts:/")
        + cast(runs.c.experiment_id, String)
        + "/"
        + runs.c.id
        + "/artifacts",
        "start_time": runs.c.started_ms,
        "end_time": runs.c.ended_ms,
    },
    families={
        "metric": Family(run_metrics, run_metrics.c.run == runs.c.seq, run_metrics.c.name, run_metrics.c.value),
        "param": Family(run_params, run_params.c.run == runs.c.seq, run_params.c.name, run_params.c.value),
        "tag": Family(run_tags, run_tags.c.run == runs.c.seq, run_tags.c.name, run_tags.c.value),
    },
    datasets={
        "name": _dataset(datasets.c.name),
        "digest": _dataset(datasets.c.fingerprint),
        "context": _dataset(func.json_extract(run_datasets.c.tags, _CONTEXT)),
    },
)

EXPERIMENT: Final = Entity(
    attributes={
        "name": experiments.c.name,
        "experiment_id": cast(experiments.c.id, String),
        "creation_time": experiments.c.created_ms,
        "last_update_time": experiments.c.updated_ms,
    },
    families={
        "tag": Family(
            experiment_tags,
            and_(
                experiment_tags.c.project_id == experiments.c.project_id,
                experiment_tags.c.experiment_id == experiments.c.id,
            ),
            experiment_tags.c.name,
            experiment_tags.c.value,
        )
    },
)


def _of_model(table: Any) -> Family:
    return Family(table, table.c.model == logged_models.c.seq, table.c.name, table.c.value)


LOGGED_MODEL: Final = Entity(
    attributes={
        "name": logged_models.c.name,
        "model_id": logged_models.c.id,
        "model_type": logged_models.c.model_type,
        "status": logged_models.c.status,
        "source_run_id": logged_models.c.source_run_id,
        "experiment_id": cast(logged_models.c.experiment_id, String),
        "creation_timestamp": logged_models.c.created_ms,
        "last_updated_timestamp": logged_models.c.updated_ms,
    },
    families={
        "metric": _of_model(logged_model_metrics),
        "param": _of_model(logged_model_params),
        "tag": _of_model(logged_model_tags),
    },
)
