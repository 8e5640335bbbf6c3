"""A made-up but lifelike report: a year of flights with a faulty weather feed in July."""

from datetime import date, timedelta
from math import sin

import numpy as np

from boucle.evaluation.records import Curve
from boucle.loop.report_records import (
    DriftCell,
    LineageNode,
    Mark,
    Month,
    ObjectiveStatus,
    Report,
    Week,
)
from boucle.monitoring.records import Alert

FIRST, LAST = date(2013, 3, 1), date(2013, 12, 31)
FAULTY = [date(2013, 7, 15), date(2013, 7, 16), date(2013, 7, 17)]
CATEGORIES = ["carrier", "origin", "dest", "manufacturer", "model"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
COLUMNS = [*CATEGORIES, "departs_minute", "weekday", "distance", *WEATHER, "plane_year", "seats", "probability"]
HOSTILE = "<script>alert(1)</script>"


def report() -> Report:
    """The sample; the same on every call."""
    noise = np.random.default_rng(3)
    marks = _marks()
    return Report(
        project="flights",
        stream="replay-3f9c51d07a2e",
        task="binary",
        metric="auc_roc",
        higher_is_better=True,
        first=FIRST,
        last=LAST,
        rows=276_314,
        months=_months(marks, noise),
        weeks=_weeks(noise),
        mean_loop=0.7062,
        mean_frozen=0.6713,
        mean_oracle=0.7089,
        gain_share=0.928,
        marks=marks,
        drift=_drift(noise),
        quarantined=FAULTY,
        alerts=_alerts(),
        objectives=_objectives(),
        calibration_before=Curve(x=[0.06 + 0.05 * i for i in range(10)], y=[0.10 + 0.062 * i for i in range(10)]),
        calibration_after=Curve(x=[0.05 + 0.06 * i for i in range(10)], y=[0.052 + 0.0605 * i for i in range(10)]),
        lineage=_lineage(),
        generated="0.1.0",
    )


def _weeks(noise: np.random.Generator) -> list[Week]:
    weeks = []
    for number in range(45):
        monday = date(2013, 2, 25) + timedelta(days=7 * number)
        season = 0.018 * sin(number / 7)
        weeks.append(
            Week(
                week=monday,
                loop=0.706 + season + float(noise.normal(0, 0.009)),
                frozen=0.694 + season - 0.0011 * number + float(noise.normal(0, 0.009)),
                rows=6300,
            )
        )
    return weeks


def _months(marks: list[Mark], noise: np.random.Generator) -> list[Month]:
    months = []
    for number in range(3, 13):
        of_month = [mark.kind for mark in marks if mark.day.month == number]
        months.append(
            Month(
                month=f"2013-{number:02}",
                rows=27_000 + 100 * number,
                loop=0.706 + 0.015 * sin(number) + float(noise.normal(0, 0.003)),
                frozen=0.70 - 0.004 * number + 0.015 * sin(number),
                oracle=0.709 + 0.015 * sin(number),
                alerts=3 + number % 4,
                retrainings=of_month.count("retrain"),
                promotions=of_month.count("promote"),
                refusals=of_month.count("refuse"),
                rollbacks=of_month.count("rollback"),
            )
        )
    return months


def _marks() -> list[Mark]:
    marks, version, day = [], 1, date(2013, 3, 16)
    while day < LAST:
        version += 1
        marks.append(
            Mark(
                day=day,
                kind="retrain",
                version=version,
                reason="auc_roc is 0.6688 on 6043 labelled rows, 0.0296 worse than the 0.6984 of version "
                f"{version - 1} at its promotion (allowed: less than 0.0200)",
            )
        )
        verdict = day + timedelta(days=4)
        if version == 9:
            marks.append(
                Mark(
                    day=verdict,
                    kind="refuse",
                    version=version,
                    reason="version 9 fails its gates: auc_roc 0.4986, at least 0.6 required",
                )
            )
        else:
            marks.append(
                Mark(
                    day=verdict,
                    kind="promote",
                    version=version,
                    reason=f"version {version} against version {version - 1}: auc_roc 0.7103 against 0.6962, "
                    "difference +0.0141 [+0.0082, +0.0199] at 90 % on 3702 labelled rows (required: at least +0.0000)",
                )
            )
        if version == 14:
            marks.append(
                Mark(
                    day=verdict + timedelta(days=6),
                    kind="rollback",
                    version=13,
                    reason="version 13 is better than version 14, in charge for 6 days: auc_roc 0.7011 against 0.6870",
                )
            )
        day += timedelta(days=13)
    marks += [Mark(day=day, kind="quarantine", version=None, reason="range(temp), relation") for day in FAULTY]
    return sorted(marks, key=lambda mark: mark.day)


def _drift(noise: np.random.Generator) -> list[DriftCell]:
    cells = []
    for offset in range((LAST - FIRST).days + 1):
        day = FIRST + timedelta(days=offset)
        for column in COLUMNS:
            warm = max(0.0, sin((offset - 20) / 90)) * (1.6 if column in ("temp", "dewp") else 0.15)
            psi = abs(float(noise.normal(0.25, 0.14))) + warm
            jumped = day in FAULTY and column in ("temp", "dewp")
            psi = psi + 0.9 if jumped else psi
            cells.append(DriftCell(day=day, column=column, psi=psi, threshold=1.0, drifted=psi > 1.0, shifted=jumped))
    return cells


def _alerts() -> list[Alert]:
    return [
        Alert(
            id=f"replay/{kind}/{subject}/{opened}",
            kind=kind,
            subject=subject,
            opened_on=opened,
            closed_on=closed,
            message=message,
            evidence={"psi": 1.4},
        )
        for kind, subject, opened, closed, message in (
            ("drift", "temp", date(2013, 5, 20), date(2013, 9, 30), "temp drifted: PSI 8.41, at most 7.50 is usual"),
            ("decay", "auc_roc", date(2013, 6, 2), date(2013, 6, 9), "auc_roc is 0.6712 on 6043 labelled rows"),
            ("shift", "temp", FAULTY[0], date(2013, 7, 19), "temp jumped: its mean is 11.0 usual spreads below"),
            ("shift", "dewp", FAULTY[0], date(2013, 7, 19), "dewp jumped: its mean is 25.1 usual spreads below"),
            ("check", "humid", FAULTY[0], date(2013, 7, 19), "relation: 970 of 974 rows fail, at most 50 % may"),
            ("drift", HOSTILE, date(2013, 12, 29), None, f"{HOSTILE} & co. drifted"),
        )
    ]


def _objectives() -> list[ObjectiveStatus]:
    rows = (
        ("auc_roc", "at least 0.6", 0.7112, True, "evaluation of version 24"),
        ("log_loss", "at most 0.65", 0.5073, True, "evaluation of version 24"),
        ("calibration_error", "at most 0.15", 0.0212, True, "evaluation of version 24"),
        ("latency_p95_ms", "at most 20", 23.81, False, "1,204 requests of the stream"),
        ("lead_time_days", "at most 14", None, None, "no retraining yet"),
    )
    return [
        ObjectiveStatus(metric=metric, required=required, measured=measured, met=met, where=where)
        for metric, required, measured, met, where in rows
    ]


def _lineage() -> list[LineageNode]:
    def digest(seed: int) -> str:
        return "".join(f"{(seed * 7919 + i * 104729) % 16:x}" for i in range(64))

    return [
        LineageNode(
            kind="dataset version",
            title="298 411 rows",
            digest=digest(1),
            facts={"from": "2013-01-01", "to": "2013-12-04", "left out": "3 quarantined days"},
        ),
        LineageNode(
            kind="run",
            title="retrain-2013-12-08",
            digest=None,
            facts={"learning_rate": "0.081", "max_leaf_nodes": "31", "trials": "1", "author": "service:loop"},
        ),
        LineageNode(
            kind="bundle",
            title="treelite",
            digest=digest(2),
            facts={"parity": "largest difference 5.6e-16, no label flips"},
        ),
        LineageNode(
            kind="model version", title="flights 24", digest=None, facts={"why": "retrained: decay of auc_roc"}
        ),
        LineageNode(
            kind="gates",
            title="4 of 4 passed",
            digest=digest(3),
            facts={"auc_roc": "0.7112, at least 0.6", "parity": "5.6e-16, at most 1e-9"},
        ),
        LineageNode(kind="permit", title="permit_01jex9", digest=None, facts={"issued to": "service:loop"}),
        LineageNode(kind="alias", title="champion", digest=None, facts={"since": "2013-12-12"}),
    ]
