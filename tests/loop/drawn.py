"""Facts and policies of any kind, for hypothesis."""

from datetime import date, datetime, timedelta

from hypothesis import strategies as st

from boucle.evaluation.records import Comparison
from boucle.loop.records import Asked, ChallengerFacts, ChampionFacts, Facts, SliceCompared
from boucle.project.records import LoopSection, PromotePolicy, RetrainPolicy, RollbackPolicy

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
any_facts = st.builds(
    Facts,
    today=st.just(TODAY),
    champion=st.builds(
        ChampionFacts,
        number=st.just(4),
        metric_at_promotion=st.floats(0.5, 0.9),
        promoted_on=days,
        previous=st.none() | st.just(3),
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
    ),
    last_trained_on=days,
    performance=st.none() | st.floats(0.4, 0.9),
    performance_rows=st.integers(0, 10_000),
    drifted=st.lists(columns, max_size=6),
    quarantined_today=columns,
    previous_comparison=comparisons,
    new_rows=st.none() | st.integers(0, 10_000),
    trained_on=st.lists(st.dates(TODAY - timedelta(days=6), TODAY), max_size=4).map(sorted),
    trained_minutes=st.floats(0, 300),
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
    ),
    rollback=st.builds(
        RollbackPolicy, min_rows=st.integers(1, 5000), loss=st.floats(0, 0.05), watch_days=st.integers(0, 30)
    ),
)
