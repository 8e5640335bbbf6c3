"""What a boucle.yaml should say: from the needs and the table to a `Project`. Pure."""

from collections.abc import Sequence

from boucle.data.proposal import Proposal
from boucle.data.proposed_checks import propose_checks
from boucle.data.records import CsvFormat, DataSection, Features, Task
from boucle.evaluation.api import direction
from boucle.evaluation.records import EvaluationSection
from boucle.governance.records import GovernanceSection, Objective
from boucle.monitoring.records import MonitoringSection
from boucle.project.needs import Needs
from boucle.project.proposal.quick_look import QuickLook
from boucle.project.records import LoopSection, Project, PromotePolicy, RollbackPolicy
from boucle.training.records import Range, Search, TrainingSection

SEARCHED = {"recall": "auc_roc", "specificity": "auc_roc", "precision": "average_precision"}
"""What the search and the loop go by where the asked metric depends on a threshold: one that ranks."""
_SLICES = 3
_SLICED_VALUES = 20


def data_section(
    needs: Needs, proposals: Sequence[Proposal], csv: CsvFormat | None, leakage: float | None = None
) -> DataSection:
    """The `data` section, with checks."""
    return DataSection(
        source=needs.source,
        csv=csv,
        target=needs.target,
        features=features_of(proposals),
        key=needs.key,
        time=needs.time,
        known_later=[one.column.name for one in proposals if one.role == "known_later"],
        checks=propose_checks(proposals, leakage),
    )


def features_of(proposals: Sequence[Proposal]) -> Features:
    """The features among the proposals, in the order of the table."""
    return Features(
        numeric=[one.column.name for one in proposals if one.role == "numeric"],
        categorical=[one.column.name for one in proposals if one.role == "categorical"],
    )


def plan(
    needs: Needs, data: DataSection, proposals: Sequence[Proposal], look: QuickLook, training: TrainingSection
) -> Project:
    """The whole project; every section that differs from its defaults."""
    metric = SEARCHED.get(needs.metric, needs.metric)
    sliced = [
        one.column.name for one in proposals if one.role == "categorical" and 2 <= one.column.distinct <= _SLICED_VALUES
    ]
    return Project(
        project=needs.project,
        data=data,
        objectives=objectives_of(needs, look),
        training=training,
        evaluation=EvaluationSection(slices=sliced[:_SLICES]),
        governance=GovernanceSection(reviews=needs.reviews, keep_days=needs.keep_days),
        monitoring=MonitoringSection(labels_delay_days=needs.labels_delay_days),
        loop=_loop(metric, look.rows),
    )


def objectives_of(needs: Needs, look: QuickLook) -> list[Objective]:
    """Quality by the metric asked for, and by the one that ranks; then what is asked of the endpoint and the loop."""
    searched = SEARCHED.get(needs.metric)
    asked = [(needs.metric, needs.quality), (searched, look.metrics[searched].target if searched else None)]
    asked += [
        ("latency_p95_ms", needs.latency_ms),
        ("availability", needs.availability),
        ("lead_time_days", needs.lead_time_days),
    ]
    return [_objective(metric, value) for metric, value in asked if metric is not None and value is not None]


def _objective(metric: str, value: float) -> Objective:
    larger = metric == "availability" or (metric not in ("latency_p95_ms", "lead_time_days") and direction(metric) > 0)
    return Objective(metric=metric, at_least=value) if larger else Objective(metric=metric, at_most=value)


def training_section(
    needs: Needs, *, rows: int, classes: int, default_task: Task, holdout_days: float | None
) -> TrainingSection:
    """How to train on so many rows: a first training of a small table takes seconds, of a large one a few minutes.

    Folds follow the time where there is one and are shuffled otherwise.
    """
    least = max(5, min(100, rows // 50))
    return TrainingSection(
        task=None if needs.task == default_task else needs.task,
        holdout_days=7.0 if holdout_days is None else holdout_days,
        metric=SEARCHED.get(needs.metric, needs.metric),
        search=Search(
            trials=8 if rows * max(1, classes) <= 50_000 else 5,
            rows=20_000 if rows > 20_000 else None,
            space={
                "max_iter": Range(low=30, high=150 if classes <= 10 else 60),
                "learning_rate": Range(low=0.03, high=0.3, log=True),
                "max_leaf_nodes": Range(low=7, high=31),
                "min_samples_leaf": Range(low=least, high=least * 6, log=True),
                "l2_regularization": Range(low=0.01, high=10.0, log=True),
            },
        ),
    )


def _loop(metric: str, rows: int) -> LoopSection:
    least = max(50, min(1000, rows // 10))
    return LoopSection(
        metric=metric, promote=PromotePolicy(min_rows=least), rollback=RollbackPolicy(min_rows=least * 3)
    )
