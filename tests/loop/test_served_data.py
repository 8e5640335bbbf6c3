"""Bad input through the real monitor: each is told, and the monitor goes on."""

import functools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from monitored import Monitored, monitored

from boucle.loop import store as tables
from boucle.monitoring.records import DataPolicy, Window
from boucle.monitoring.served_data import freshness_findings, skew_findings, volume_findings

START = datetime(2024, 1, 1, tzinfo=UTC)
YAML = """\
project: orders
data:
  source: orders.parquet
  time: at
  key: id
  target: late
  features: {categorical: [kind], numeric: [x, z]}
training:
  until: 2024-01-20
  holdout_days: 3
  params: {max_iter: 6, max_leaf_nodes: 4}
  search: {trials: 1, space: {learning_rate: {low: 0.1, high: 0.4}}}
  cross_validation: {folds: 2}
evaluation: {bootstrap: 20}
monitoring:
  drift: {by: verdict, together: true}
  data: {skew: true, freshness: 1d}
"""


def orders(days: int = 60, rows_a_day: int = 150) -> pl.DataFrame:
    draw = np.random.default_rng(2)
    day = np.repeat(np.arange(days), rows_a_day)
    x, z = draw.normal(size=(2, day.size))
    x = x + 0.5 * z
    return pl.DataFrame(
        {
            "id": [f"o{n}" for n in range(day.size)],
            "at": [START + timedelta(days=int(one), minutes=n % rows_a_day) for n, one in enumerate(day)],
            "kind": draw.choice(["a", "b", "c"], day.size),
            "x": x,
            "z": z,
            "late": (draw.random(day.size) < 1 / (1 + np.exp(-2 * x))).astype(int),
        }
    )


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    folder = tmp_path_factory.mktemp("orders")
    orders().write_parquet(folder / "orders.parquet")
    (folder / "boucle.yaml").write_text(YAML)
    with monitored(folder) as made:
        yield made


@pytest.fixture(scope="module")
def windows(live: Monitored) -> dict[str, Window]:
    """Thirteen days, of which each has another fault; the last one is as it should be."""
    table = orders()

    def day(number: int) -> pl.DataFrame:
        return table.filter(pl.col("at").dt.date() == (START + timedelta(days=number)).date())

    live.serve(day(18).with_columns(z=pl.col("z") * 2))  # the model learned from these rows
    for number in range(20, 28):
        live.serve(day(number))
    live.serve(day(28), served_at=START + timedelta(days=31))
    live.serve(day(30))  # nothing came on the day before
    live.serve(day(31), drop=("z",))
    live.serve(day(32).with_columns(z=pl.Series([f"{one:.2f} kg" for one in day(32)["z"]])), asked=day(32))
    live.serve(day(33).with_columns(x=pl.lit(0.5)))
    live.serve(day(34).with_columns(x=pl.lit(None, pl.Float64)))
    texts = pl.Series("kind", [f"k{n}" for n in range(100_000)])
    live.serve(day(35)[np.arange(100_000) % 150].with_columns(texts))
    live.serve(day(36).head(8))
    live.serve(day(37).with_columns(x=pl.col("x") + 50))
    live.serve(day(38).with_columns(x=pl.col("x").sort(descending=True), z=pl.col("z").sort()))
    live.serve(day(39), request="replay-2024-02-09")  # a client's own name for what it asks again
    live.serve(day(39), request="replay-fedcba987654/2024-02-09/00000")  # there is no such replay
    store = live.context.store()
    store.write(lambda conn: tables.begin(conn, live.name, "replay-0123456789ab", first_version=1))
    live.serve(day(39), request="replay-0123456789ab/2024-02-09/00000")
    live.serve(day(40).head(100))
    return {window.key: window for window in live.look()}


def told(windows: dict[str, Window], number: int) -> dict[str, str]:
    """What was found on a day."""
    window = windows[str((START + timedelta(days=number)).date())]
    return {one.name: one.message for one in window.findings if not one.passed}


def verdicts(windows: dict[str, Window], number: int) -> dict[str, str | None]:
    return {one.column: one.verdict for one in windows[str((START + timedelta(days=number)).date())].drift}


pytestmark = pytest.mark.slow


def test_good_days_say_nothing_also_after_bad_ones(windows: dict[str, Window]) -> None:
    for number in (20, 25, 30, 39):
        assert told(windows, number) == {}, number
        assert set(verdicts(windows, number).values()) == {"same"}, number
        found = windows[str((START + timedelta(days=number)).date())].together
        assert found is not None
        assert not found.drifted


def test_no_id_that_a_client_gives_keeps_its_rows_from_being_watched(windows: dict[str, Window]) -> None:
    assert windows["2024-02-09"].rows == 300  # those of a replay of this project alone are left out


@pytest.mark.parametrize(
    ("number", "name", "message"),
    [
        (18, "skew(z)", "`z` was served otherwise than it was learned from in 150 of 150 rows"),
        (28, "freshness", "the middle row was 2 days, 22:45:30 old when it was served, at most 1d is allowed"),
        (29, "volume", "0 rows came, 150 are usual"),
        (31, "all_null(z)", "`z` came with no value in any of 150 rows"),
        (32, "type(z)", "`z` is text that is no number in 150 of 150 rows"),
        (33, "constant(x)", "`x` is 0.5 in all 150 rows"),
        (34, "all_null(x)", "`x` came with no value in any of 150 rows"),
        (35, "new_values(kind)", "`kind` is new in 100% of the rows; 100,000 different values, 3 known"),
        (36, "volume", "8 rows came, 150 are usual"),
        (37, "outside(x)", "in 100% of the rows"),
    ],
)
def test_each_fault_is_told(windows: dict[str, Window], number: int, name: str, message: str) -> None:
    assert message in told(windows, number)[name]


def test_too_few_rows_are_no_verdict(windows: dict[str, Window]) -> None:
    assert set(verdicts(windows, 36).values()) == {"few"}


def test_columns_that_come_apart_are_told_though_each_is_what_it_was(
    live: Monitored, windows: dict[str, Window]
) -> None:
    found = windows["2024-02-08"].together
    assert found is not None
    assert found.drifted
    assert {one.verdict for one in windows["2024-02-08"].drift if one.column != "prediction"} == {"same"}
    assert "columns together" in {one.subject for one in live.alerts() if one.kind == "drift"}


def test_findings_become_alerts(live: Monitored, windows: dict[str, Window]) -> None:
    assert windows
    opened = {(one.kind, one.subject, str(one.opened_on)) for one in live.alerts()}
    assert {("check", "z", "2024-02-01"), ("check", "x", "2024-02-03"), ("check", "volume", "2024-01-30")} <= opened


def test_usual_is_by_the_hour_of_the_week_where_that_is_known() -> None:
    hours = [START + timedelta(hours=n) for n in range(24 * 28)]
    before = [(at, 1_000 if at.hour in range(8, 18) else 10) for at in hours]
    night, noon = (START + timedelta(days=28, hours=hour) for hour in (3, 12))
    assert volume_findings(10, night, before, 0.5) == []
    assert volume_findings(1_000, noon, before, 0.5) == []
    assert volume_findings(400, noon, before, 0.5) != []
    assert volume_findings(4, night, before, 0.5) == []  # within chance
    assert volume_findings(1_000, night, before, 0.5) != []
    assert volume_findings(0, noon, before[:3], 0.5) == []  # nothing is usual yet
    assert volume_findings(0, noon, before, None) == []


HOURLY = timedelta(hours=1)


def volumes_of(local: ZoneInfo, weeks: int, first: datetime, every: timedelta = HOURLY) -> list[tuple[datetime, int]]:
    """Windows of people who work from 8 to 18 by their own clock, five days a week, and hardly at other times."""

    def rows(at: datetime) -> int:
        quarters = [(at + n * timedelta(minutes=15)).astimezone(local) for n in range(every // timedelta(minutes=15))]
        return sum(250 if one.hour in range(8, 18) and one.weekday() < 5 else 5 for one in quarters)

    moments = [first + n * every for n in range(weeks * 7 * 24 * HOURLY // every)]
    return [(at, rows(at)) for at in moments]


@pytest.mark.parametrize("every", [HOURLY, timedelta(hours=6)], ids=str)
def test_hours_of_work_are_no_alarm_from_the_first_day_on_nor_when_clocks_are_set(every: timedelta) -> None:
    began = datetime(2024, 9, 16, tzinfo=UTC)
    found = volumes_of(ZoneInfo("Europe/Paris"), 10, began, every)  # clocks are set back on 27 October
    told = [
        at
        for place, (at, rows) in enumerate(found)
        if volume_findings(rows, at, found[max(0, place - 8 * 7 * 24 * HOURLY // every) : place], 0.5, length=every)
    ]
    # The first weekend of which enough days are known is the second one, and like the one before.
    assert told == []


def test_an_outage_of_an_hour_is_an_alarm_also_in_the_second_week() -> None:
    found = volumes_of(ZoneInfo("Europe/Paris"), 2, datetime(2024, 9, 16, tzinfo=UTC))
    for place in (24 * 9 + 10, 24 * 11 + 12):
        at, usual = found[place]
        assert usual == 1_000
        assert volume_findings(0, at, found[:place], 0.5, length=HOURLY) != []
        assert volume_findings(20, at, found[:place], 0.5, length=HOURLY) != []
        assert volume_findings(usual, at, found[:place], 0.5, length=HOURLY) == []


def test_an_outage_does_not_become_usual_however_long_it_lasts() -> None:
    days = [(START + timedelta(days=n), 100) for n in range(20)]
    for number in range(20, 20 + 45):
        at = START + timedelta(days=number)
        assert [one.message for one in volume_findings(0, at, days, 0.5)] == ["0 rows came, 100 are usual"], number
        assert volume_findings(100, at, days, 0.5) == [], number
        days.append((at, 0))


def test_days_of_the_week_on_which_nobody_asks_are_usual() -> None:
    days = [(START + timedelta(days=n), 0 if n % 7 in (5, 6) else 100) for n in range(28)]
    assert volume_findings(0, START + timedelta(days=33), days, 0.5) == []
    assert volume_findings(0, START + timedelta(days=28), days, 0.5) != []


def test_rows_that_were_learned_from_as_they_were_served_are_no_skew() -> None:
    rows = orders(1)
    same = rows.with_columns(x=pl.col("x") * (1 + 1e-12))
    assert skew_findings(same, rows, key="id", time="at", columns=["x", "z", "kind"]) == []
    odd = rows.with_columns(kind=pl.lit("q"), x=pl.when(pl.col("id") == "o3").then(None).otherwise(pl.col("x")))
    found = {one.name: one.failing for one in skew_findings(odd, rows, key="id", time="at", columns=["x", "z", "kind"])}
    assert found == {"skew(kind)": 150, "skew(x)": 1}
    assert DataPolicy().freshness is None
    assert freshness_findings(rows, None) == []


def test_skew_is_told_of_columns_of_any_name() -> None:
    """Polars takes `*`, and what is between `^` and `$`, for patterns."""
    named = {"id": "*", "at": "^.*t$", "x": "^x.*$", "z": "x_too"}
    rows = orders(1).rename(named)
    odd = rows.with_columns((rows["^x.*$"] + 1).alias("^x.*$"))
    [found] = skew_findings(odd, rows, key="*", time="^.*t$", columns=["^x.*$", "x_too"])
    assert (found.name, found.failing) == ("skew(^x.*$)", 150)


def test_rows_that_share_key_and_time_are_no_skew() -> None:
    """Which of them is which, nothing tells; those served twice are one."""
    rows = orders(1)
    lines = pl.concat([rows.with_columns(kind=pl.lit("a"), x=pl.lit(float(n))) for n in range(3)])
    found_in = functools.partial(skew_findings, key="id", time="at", columns=["x", "kind"])
    assert found_in(lines, lines[::-1]) == []
    apart = pl.concat([lines, rows.with_columns(id="p" + pl.col("id"))])
    odd = apart.with_columns(x=pl.col("x") + 1)
    [found] = found_in(pl.concat([odd, odd]), apart)
    assert (found.name, found.failing, found.rows) == ("skew(x)", 150, 150)
