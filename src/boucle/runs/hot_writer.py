"""Writes batches of many requests to many runs in one unit of work, with what it knows of runs and metrics kept."""

import sqlite3
from collections.abc import Sequence

from boucle.kernel.errors import BoucleError, InvalidInput, NotFound
from boucle.runs import hot_sqlite as sql
from boucle.runs.batch import NAME_TAG, Batch

_MOST_SERIES = 200_000
"""As many metrics are remembered before all is forgotten: some 60 MB."""


class _Series:
    """A metric of a run, its newest point, and whether its moments are known to rise with its steps."""

    __slots__ = ("id", "is_nan", "name", "newest", "rises", "run")

    def __init__(
        self, run: "_Run", name: str, number: int, newest: tuple[int, int, float], is_nan: bool, rises: bool
    ) -> None:
        self.run = run
        self.name = name
        self.id = number
        self.newest = newest
        self.is_nan = is_nan
        self.rises = rises


class _Run:
    __slots__ = ("experiment", "lifecycle", "project", "seq", "series")

    def __init__(self, seq: int, project: str, experiment: int, lifecycle: str) -> None:
        self.seq = seq
        self.project = project
        self.experiment = experiment
        self.lifecycle = lifecycle
        self.series: dict[str, _Series] = {}


class _Pending:
    """What one unit of work is going to write."""

    def __init__(self) -> None:
        self.points: list[int | float] = []
        self.series: dict[int, _Series] = {}
        self.params: dict[tuple[int, str], tuple[str, str]] = {}
        self.tags: dict[tuple[int, str], str] = {}
        self.model_points: dict[tuple[int, str, str, int, int], tuple[float | None, str | None, str | None]] = {}


class HotWriter:
    """For units of work, which run one after the other.

    What it remembers is true as long as nobody else wrote since: another process, another connection, or another unit
    of work on this one. `hot_sqlite.stamp` tells, and `forget` is for the owner of a transaction that was undone.
    """

    def __init__(self, *, to_deleted: bool = False) -> None:
        self._to_deleted = to_deleted
        """Whether runs that can still be restored are written to as well."""
        self._raw: sqlite3.Connection | None = None
        self._stamp = (-1, -1)
        self._runs: dict[str, _Run] = {}
        self._remembered = 0
        self._last_series: int | None = None

    def forget(self) -> None:
        """Remember nothing."""
        self._raw = None
        self._runs = {}
        self._remembered = 0
        self._last_series = None

    def apply(self, raw: sqlite3.Connection, batches: Sequence[Batch]) -> list[BoucleError | None]:
        """Write batches, in their order; for each None or why it was not written. One that is refused is refused
        before anything of it is written, and spares the others.
        """
        if self._raw is not raw or sql.stamp(raw) != self._stamp or self._remembered > _MOST_SERIES:
            self.forget()
        outcomes: list[BoucleError | None] = []
        pending = _Pending()
        try:
            for batch in batches:
                try:
                    self._take(raw, batch, pending)
                    outcomes.append(None)
                except BoucleError as error:
                    outcomes.append(error)
            _write(raw, pending)
        except BaseException:
            self.forget()
            raise
        self._raw, self._stamp = raw, sql.stamp(raw)
        return outcomes

    def _take(self, raw: sqlite3.Connection, batch: Batch, pending: _Pending) -> None:
        run = self._run(raw, batch)
        seq = run.seq
        models = _models(raw, batch) if batch.model_points else {}
        if batch.params:  # the only thing besides that can be refused, so it comes first
            new = _new_params(raw, batch, seq, pending)
            pending.params.update(new)
        for name, value in batch.tags:
            if name != NAME_TAG or value:  # a run keeps its name
                pending.tags[seq, name] = value
        if batch.points:
            self._take_points(raw, batch, run, pending)
        for model_id, point, dataset, fingerprint in batch.model_points:
            key = (models[model_id], batch.run_id, point.name, point.step, point.at_ms)
            pending.model_points[key] = (None if point.is_nan else point.value, dataset, fingerprint)

    def _take_points(self, raw: sqlite3.Connection, batch: Batch, run: _Run, pending: _Pending) -> None:
        known, points, changed = run.series, pending.points, pending.series
        for name, step, at_ms, value, is_nan in batch.points:
            series = known.get(name)
            if series is None:
                series = self._series(raw, run, name, (step, at_ms, value), is_nan, pending)
            points += (series.id, step, at_ms, value, is_nan)
            newest = (step, at_ms, value)
            if newest > series.newest:
                if at_ms < series.newest[1]:
                    series.rises = False
                series.newest = newest
                series.is_nan = is_nan
                changed[series.id] = series
            elif series.rises and newest != series.newest:  # between those that are there, or one of them again
                series.rises = False
                changed[series.id] = series

    def _run(self, raw: sqlite3.Connection, batch: Batch) -> _Run:
        run = self._runs.get(batch.run_id)
        if run is None:
            found = sql.find_run(raw, batch.run_id)
            if found is not None:
                run = self._runs[batch.run_id] = _Run(*found)
                self._remembered += 1
        if run is None or run.project != batch.project_id:
            raise no_run(batch.run_id)
        if run.lifecycle != "active" and not (self._to_deleted and run.lifecycle == "deleted"):
            raise not_active(batch.run_id, run.lifecycle)
        return run

    def _series(
        self,
        raw: sqlite3.Connection,
        run: _Run,
        name: str,
        newest: tuple[int, int, float],
        is_nan: bool,
        pending: _Pending,
    ) -> _Series:
        found = sql.find_series(raw, run.seq, name)
        if found is None:
            if self._last_series is None:
                self._last_series = sql.last_series(raw)
            self._last_series += 1
            series = _Series(run, name, self._last_series, newest, is_nan, rises=True)
            pending.series[series.id] = series
        else:
            number, step, at_ms, value, rises = found
            series = _Series(run, name, number, (step, at_ms, value or 0.0), value is None, bool(rises))
        run.series[name] = series
        self._remembered += 1
        return series


def no_run(run_id: str) -> NotFound:
    """The error for a run that the project does not have."""
    return NotFound(f"Run with id={run_id[:100]!r} not found", details={"run_id": run_id[:100]})


def not_active(run_id: str, lifecycle: str) -> InvalidInput:
    """The error for a change of a deleted run."""
    return InvalidInput(
        f"The run {run_id} must be in the 'active' state. Current state is {lifecycle}.", hint="restore it first"
    )


def _models(raw: sqlite3.Connection, batch: Batch) -> dict[str, int]:
    found: dict[str, int] = {}
    for model_id in {point.model_id for point in batch.model_points}:
        number = sql.find_model(raw, batch.project_id, model_id)
        if number is None:
            raise NotFound(f"there is no logged model {model_id[:100]!r} in this project")
        found[model_id] = number
    return found


def _new_params(
    raw: sqlite3.Connection, batch: Batch, seq: int, pending: _Pending
) -> dict[tuple[int, str], tuple[str, str]]:
    new: dict[tuple[int, str], tuple[str, str]] = {}
    for name, text, kind in batch.params:
        waiting = pending.params.get((seq, name)) or new.get((seq, name))
        known = waiting[0] if waiting is not None else sql.find_param(raw, seq, name)
        if known is None:
            new[seq, name] = (text, kind)
        elif known != text:
            raise InvalidInput(
                f"Changing param values is not allowed. Param with key={name!r} was already logged with "
                f"value={known[:100]!r} for run ID={batch.run_id!r}. Attempted logging new value {text[:100]!r}.",
                hint="log the other value to another run, or under another name",
            )
    return new


def _write(raw: sqlite3.Connection, pending: _Pending) -> None:
    if pending.params:
        sql.write_params(raw, [part for key, value in pending.params.items() for part in (*key, *value)])
    if pending.tags:
        sql.write_tags(raw, [part for key, value in pending.tags.items() for part in (*key, value)])
        for (seq, name), text in pending.tags.items():
            if name == NAME_TAG:
                sql.name_run(raw, seq, text)
    if pending.series:
        rows: list[object] = []
        for series in pending.series.values():
            step, at_ms, value = series.newest
            run = series.run
            shown = None if series.is_nan else value
            rows += (series.id, run.seq, run.project, run.experiment, series.name, shown, step, at_ms, series.rises)
        sql.write_series(raw, rows)
    if pending.points:
        sql.write_points(raw, pending.points)
    if pending.model_points:
        sql.write_model_points(raw, [part for key, value in pending.model_points.items() for part in (*key, *value)])
