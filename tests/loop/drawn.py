"""Facts and policies of any kind, for hypothesis."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import strategies as st

from boucle.evaluation.records import Comparison
from boucle.loop.records import Asked, ChallengerFacts, ChampionFacts, Facts, Figures, RolloutFacts, SliceCompared
from boucle.project.records import LoopSection, PromotePolicy, RetrainPolicy, RollbackPolicy, RolloutPolicy

TODAY = date(2013, 7, 1)


def compared(difference: float, rows: int = 5000, width: float = 0.004) -> Comparison:
    return Comparison(
        metric="auc_roc",
        rows=rows,
        champion=0.7,
        challenger=0.7 + difference,
        difference=difference,
        low=difference - width,
        high=difference + width,
        confidence=0.9,
    )


numbers = st.floats(-0.2, 0.2) | st.just(float("nan"))
comparisons = st.none() | st.builds(compared, difference=numbers, rows=st.integers(0, 10_000), width=st.floats(0, 0.1))
columns = st.lists(st.sampled_from(["temp", "dewp", "carrier"]), unique=True)
days = st.dates(TODAY - timedelta(days=40), TODAY)
figures = st.builds(
    Figures,
    requests=st.integers(30, 500),
    errors=st.integers(0, 30),
    p95_ms=st.none() | st.floats(0.1, 20),
)
rollouts = st.none() | st.builds(
    RolloutFacts,
    step=st.integers(0, 4),
    hours=st.floats(0, 60),
    challenger=figures,
    champion=figures,
    labels=st.integers(0, 500),
    comparison=st.none() | st.builds(compared, difference=st.floats(-0.2, 0.2), rows=st.integers(0, 10_000)),
    problem=st.sampled_from(["", "", "it cannot be loaded"]),
    others=st.sampled_from(["", "", "version 9 as canary"]),
    at=st.just(datetime(2013, 7, 1, tzinfo=UTC)),
)
any_facts = st.builds(
    Facts,
    today=st.just(TODAY),
    champion=st.builds(
        ChampionFacts,
        number=st.just(4),
        metric_at_promotion=st.floats(0.5, 0.9),
        promoted_on=days,
        previous=st.none() | st.just(3),
        barred=st.sampled_from(["", "", "it was rejected"]),
    ),
    challenger=st.none()
    | st.builds(
        ChallengerFacts,
        number=st.just(5),
        gates_passed=st.booleans(),
        gates_message=st.just("said why"),
        comparison=comparisons,
        slices=st.lists(
            st.builds(
                SliceCompared,
                column=st.just("carrier"),
                value=st.sampled_from(["AA", "UA"]),
                comparison=st.builds(compared, difference=st.floats(-0.2, 0.2), width=st.floats(0, 0.1)),
            ),
            max_size=3,
        ),
        needs=st.sampled_from([[], [], ["reviews"]]),
        rollout=rollouts,
        newest=st.none() | st.builds(compared, difference=st.floats(-0.2, 0.2), width=st.floats(0, 0.1)),
        waits_since=st.none() | days,
    ),
    last_trained_on=days,
    performance=st.none() | st.floats(0.4, 0.9),
    performance_rows=st.integers(0, 10_000),
    drifted=st.lists(columns, max_size=6),
    quarantined_today=columns,
    previous_comparison=comparisons,
    new_rows=st.none() | st.integers(0, 10_000),
    trained_on=st.lists(st.dates(TODAY - timedelta(days=6), TODAY), max_size=4).map(sorted),
    service=st.just([]) | st.lists(figures, min_size=2, max_size=2),
    burning=st.sampled_from([{}, {"a1": "latency_p95_ms is 90"}]),
    trained_minutes=st.floats(0, 300),
    failures=st.integers(0, 5),
    failed_on=st.none() | days,
    failed_request=st.none() | st.just("live/asked/1"),
    estimates=st.lists(st.floats(0.4, 0.9), max_size=5),
    objective=st.none() | st.floats(0.5, 0.9),
    asked=st.none()
    | st.builds(
        Asked, id=st.just("live/asked/1"), by=st.just("ada"), at=st.just(datetime(2013, 7, 1)), why=st.just("")
    ),
)
policies = st.builds(
    LoopSection,
    metric=st.sampled_from(["auc_roc", "log_loss"]),
    retrain=st.builds(
        RetrainPolicy,
        cooldown_days=st.integers(0, 30),
        decay=st.floats(0, 0.1),
        drift_columns=st.integers(1, 3),
        drift_days=st.integers(1, 4),
        new_rows=st.none() | st.integers(1, 10_000),
        schedule=st.none() | st.sampled_from(["0 6 * * 1", "0 0 1 * *", "0 0 1 1 *"]),
        trainings_per_week=st.none() | st.integers(1, 3),
        minutes_per_week=st.none() | st.floats(1, 300),
        estimate=st.none() | st.floats(0, 0.1),
        estimate_windows=st.integers(1, 4),
    ),
    promote=st.builds(
        PromotePolicy,
        min_rows=st.integers(1, 5000),
        margin=st.floats(-0.05, 0.05),
        surely=st.booleans(),
        slice_margin=st.floats(0, 0.1),
        wait_days=st.integers(1, 40),
    ),
    rollout=st.builds(
        RolloutPolicy,
        shadow_hours=st.sampled_from([0.0, 6.0]),
        shadow_labels=st.sampled_from([0, 100]),
        canary=st.sampled_from([[], [5.0], [5.0, 50.0]]),
        step_hours=st.floats(0, 48),
        step_requests=st.integers(1, 400),
    ),
    rollback=st.builds(
        RollbackPolicy,
        min_rows=st.integers(1, 5000),
        loss=st.floats(0, 0.05),
        watch_days=st.integers(0, 30),
        error_rate=st.none() | st.floats(0, 0.2),
        service=st.booleans(),
    ),
)
