"""Taking the frames of spools into the tables of runs: exactly once, in order, whatever is sent again.

A deleted run takes what is logged to it as before, as it can be restored; one that is being purged takes nothing.
A batch and the position it reaches are written in one unit of work. Frames before the known position are passed over;
so a client that never heard the answer, or two that replay the same spool, change nothing. A store that came back from
a backup knows an earlier position than its clients: they go back to it, as far as they still have what they sent.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or

from boucle.kernel.clock import from_ms, to_ms
from boucle.kernel.digests import Digest
from boucle.kernel.engines import raw_of
from boucle.kernel.errors import BoucleError, Conflict, InvalidInput
from boucle.kernel.listed import among
from boucle.kernel.store import Store
from boucle.runs import artifacts, limits
from boucle.runs import store as of_runs
from boucle.runs.artifact_paths import checked
from boucle.runs.batch import NAME_TAG, Batch, Point, point
from boucle.runs.hot_writer import HotWriter
from boucle.runs.records import Run
from boucle.runs.spool.frames import scan
from boucle.runs.spool.records import (
    DECODER,
    Artifact,
    Begin,
    Dataset,
    End,
    Params,
    ParamValue,
    Points,
    Record,
    Tags,
    Taken,
)
from boucle.runs.tables import datasets, run_datasets, run_params, run_tags, runs, spools

_SPOOL: Final = re.compile("[0-9a-f]{32}")
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_TOLD: Final = 20


def take(
    store: Store,
    project_id: str,
    spool: str,
    start: int,
    data: bytes,
    *,
    held: int | None = None,
    principal: str | None = None,
) -> Taken:
    """Take a batch of frames that begins at a position of a spool; durable when it returns.

    A record that cannot be stored is passed over and told. Where blobs are missing that the batch names, nothing is
    taken. Nor is it where a gap follows the known position and the client has frames of that gap: from `held` on it has
    all. What is before that is past help, and so is any gap of a client that does not say. `principal` is who sent it,
    which a run that it begins keeps as a tag.
    """
    if not _SPOOL.fullmatch(spool) or not 0 <= start < 1 << 62:
        raise InvalidInput(f"spool {spool[:60]!r} at {start}; allowed are 32 hexadecimal digits and a position")
    found = scan(data)
    records: list[tuple[int, Record]] = []
    refused: list[str] = []
    for behind, payload in found.frames:
        try:
            records.append((start + behind, DECODER.decode(payload)))
        except msgspec.MsgspecError as error:
            refused.append(f"a frame before {start + behind} holds no record: {error}")
    named = dict.fromkeys(one.blob for _, one in records if isinstance(one, Artifact))
    end, now_ms = start + found.end, to_ms(store.clock.now())

    def before(conn: Connection) -> tuple[bool, str, int]:
        """Whether the spool is known, its run, and the known position."""
        row = conn.execute(select(spools).where(spools.c.id == spool)).first()
        if row is None:
            return False, "", 0
        if row.project_id != project_id:
            raise Conflict(f"spool {spool} belongs to project {row.project_id!r}, not to {project_id!r}")
        return True, row.run_id, row.position

    def comes_too_early(known: int) -> bool:
        return held is not None and max(known, held) < start

    def unit(conn: Connection) -> Taken:
        is_known, run_id, known = before(conn)
        if end <= known or comes_too_early(known):
            return Taken(position=known)
        batch = _Batch(conn, project_id, run_id, principal, from_ms(now_ms))
        batch.take([one for behind, one in records if behind > known])
        values = {"run_id": batch.run_id, "position": end, "updated_ms": now_ms}
        if not is_known:
            conn.execute(insert(spools).values(id=spool, project_id=project_id, **values))
        else:
            conn.execute(update(spools).where(spools.c.id == spool).values(**values))
        return Taken(position=end, refused=(refused + batch.refused)[:_TOLD], told=batch.told)

    with store.visit() as here:
        missing = [blob for blob in named if _DIGEST.fullmatch(blob) and not here.blobs.use(Digest(blob))]
        if not missing:
            return here.write(unit)
    _, _, known = store.read(before)
    return Taken(position=known) if comes_too_early(known) else Taken(position=start, missing=missing)


class _Batch:
    """One batch on its way into the tables, within a unit of work."""

    def __init__(self, conn: Connection, project_id: str, run_id: str, principal: str | None, now: datetime) -> None:
        self._now = now
        self._conn = conn
        self._project_id = project_id
        self._principal = principal
        self._seq: int | None = None
        self._experiment = 0
        self.run_id = run_id
        self.refused: list[str] = []
        self.told: list[str] = []
        self._goes = False
        """Whether the run goes for good."""
        if run_id:
            self._find(run_id)

    def take(self, records: Sequence[Record]) -> None:
        points: list[Point] = []
        for record in records:
            try:
                match record:
                    case Begin():
                        self._begin(record)
                    case Points():
                        points += [
                            point(name, value, record.step, record.at_ms) for name, value in record.values.items()
                        ]
                    case _ if self._seq is None:
                        self.refused.append(f"records of {self._no_run()}")
                    case Params():
                        self._params(record.values)
                    case Tags():
                        self._tags(record.values)
                    case Artifact():
                        self._artifact(record)
                    case Dataset():
                        self._dataset(record)
                    case End():
                        self._end(record)
            except BoucleError as error:
                self.refused.append(error.message)
        if points and self._seq is None:
            self.refused.append(f"{len(points)} values of {self._no_run()}")
        elif points:
            batch = Batch(project_id=self._project_id, run_id=self.run_id, points=points)
            self.refused += [
                error.message
                for error in HotWriter(to_deleted=True).apply(raw_of(self._conn), [batch])
                if error is not None
            ]

    def _no_run(self) -> str:
        return f"run {self.run_id}, which goes for good" if self._goes else "a run that nobody began"

    def _find(self, run_id: str) -> bool:
        row = self._conn.execute(select(runs).where(runs.c.id == run_id)).first()
        if row is None:
            return False
        if row.project_id != self._project_id:
            raise Conflict(f"run {run_id!r} belongs to project {row.project_id!r}, not to {self._project_id!r}")
        self._goes = row.lifecycle == "purging"
        self._seq, self._experiment, self.run_id = None if self._goes else row.seq, row.experiment_id, run_id
        return True

    def _begin(self, record: Begin) -> None:
        if self.run_id == record.run and self._seq is not None:
            return
        if not _SPOOL.fullmatch(record.run):
            raise InvalidInput(f"run {record.run[:60]!r}; allowed are 32 hexadecimal digits")
        if self._find(record.run):
            return
        for what in (record.experiment, record.name, record.user):
            limits.check_title(what, "run")
            limits.check_length(what, limits.MAX_NAME, "run")
        limits.check_moment(record.started_ms, "started_ms")
        if of_runs.restore_named(self._conn, self._project_id, record.experiment, self._now):
            self.told.append(
                f"experiment {record.experiment!r} was deleted and is active again, as run {record.run} begins in it; "
                "its deleted runs stay deleted"
            )
        of_runs.add(
            self._conn,
            Run(
                id=record.run,
                project_id=self._project_id,
                experiment=record.experiment,
                name=record.name,
                status="running",
                user=record.user,
                started_at=from_ms(record.started_ms),
            ),
            created_by=self._principal,
        )
        self._find(record.run)
        self._params(record.params)
        self._tags(record.tags | ({"boucle.principal": self._principal} if self._principal else {}))

    def _params(self, values: dict[str, ParamValue]) -> None:
        rows: list[dict[str, str]] = []
        for name, value in values.items():
            columns = of_runs.param_row(value)
            limits.check_name(name, "params")
            limits.check_text(columns["value"], "params")
            limits.check_length(columns["value"], limits.MAX_PARAM, "params")
            rows.append({"name": name, **columns})
        if not rows:
            return
        mine = run_params.c.run == self._seq
        names = [row["name"] for row in rows]
        kept = {
            row.name: row.value
            for row in self._conn.execute(
                select(run_params).where(mine, among(run_params.c.name, names, self._conn.dialect.name))
            )
        }
        for row in rows:
            was = kept.get(row["name"], row["value"])
            if was != row["value"]:
                self.refused.append(f"param {row['name']!r} is {was[:60]!r} already, not {row['value'][:60]!r}")
        self._conn.execute(insert_or(run_params).on_conflict_do_nothing(), [{"run": self._seq, **row} for row in rows])

    def _tags(self, values: dict[str, str]) -> None:
        for name, value in values.items():
            limits.check_name(name, "tags")
            limits.check_text(value, "tags")
            limits.check_length(value, limits.MAX_TAG, "tags")
            if name == NAME_TAG:
                if not value:
                    continue  # a run keeps its name
                limits.check_length(value, limits.MAX_NAME, "tags")
                limits.check_title(value, "tags")
                self._conn.execute(update(runs).where(runs.c.seq == self._seq).values(name=value))
            statement = insert_or(run_tags).values(run=self._seq, name=name, value=value)
            self._conn.execute(statement.on_conflict_do_update(index_elements=["run", "name"], set_={"value": value}))

    def _artifact(self, record: Artifact) -> None:
        if not _DIGEST.fullmatch(record.blob):
            raise InvalidInput(f"artifact {record.path[:60]!r} names {record.blob[:80]!r}, which is no digest")
        limits.check_moment(record.at_ms, "at_ms")
        if not 0 <= record.size <= limits.MAX_INT64:
            raise InvalidInput(
                f"artifact {record.path[:60]!r} has {limits.shown(record.size)} bytes; allowed are 0 or more"
            )
        place = artifacts.place_of_run(self._conn, self._project_id, self.run_id, checked(record.path))
        artifacts.put(
            self._conn, self._project_id, place, Digest(record.blob), record.size, record.at_ms, to_deleted=True
        )

    def _dataset(self, record: Dataset) -> None:
        for what in (record.name, record.fingerprint, record.source_type, record.source, record.context):
            limits.check_text(what, "datasets")
        limits.check_length(record.name, limits.MAX_DATASET_NAME, "datasets")
        limits.check_length(record.fingerprint, 64, "datasets")
        key = {
            "project_id": self._project_id,
            "experiment_id": self._experiment,
            "name": record.name,
            "fingerprint": record.fingerprint,
        }
        values = {"source_type": record.source_type[:64], "source": record.source, "schema": record.schema}
        self._conn.execute(insert_or(datasets).values(**key, **values).on_conflict_do_nothing())
        same = [datasets.c[name] == value for name, value in key.items()]
        dataset = self._conn.execute(select(datasets.c.id).where(*same)).scalar_one()
        tags = msgspec.json.encode({"mlflow.data.context": record.context}).decode()
        self._conn.execute(
            insert_or(run_datasets).values(run=self._seq, dataset=dataset, tags=tags).on_conflict_do_nothing()
        )

    def _end(self, record: End) -> None:
        limits.check_moment(record.at_ms, "at_ms")
        mine = (runs.c.seq == self._seq) & (runs.c.status == "running")
        self._conn.execute(update(runs).where(mine).values(status=record.status, ended_ms=record.at_ms))
