"""Predicting a whole table: pieces over all cores, what is finished kept, the result in one step."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from boucle.data.lines import PIECE_BYTES
from boucle.data.records import CsvFormat
from boucle.kernel.digests import Digest
from boucle.kernel.errors import InvalidInput, Unavailable
from boucle.kernel.progress import Progress
from boucle.packaging.bundle import open_bundle
from boucle.packaging.roles import check_roles
from boucle.serving.batch.ask import (
    TOLD,
    begin_process,
    columns_of,
    finished,
    left_out_file,
    part_file,
    predict_apart,
    predict_piece,
)
from boucle.serving.batch.plan import PIECE_ROWS, make_plan
from boucle.serving.batch.records import BadRow, BatchReport, Part, Piece, Plan
from boucle.serving.batch.result import list_left_out, put_together, workplace

RESULTS = (".parquet", ".csv")


def predict_table(
    table: Path,
    bundle: Path,
    bundle_digest: Digest,
    *,
    number: int | None = None,
    out: Path | None = None,
    csv_format: CsvFormat | None = None,
    skip_bad: bool = False,
    jobs: int = 1,
    piece_rows: int = PIECE_ROWS,
    piece_bytes: int = PIECE_BYTES,
    progress: Progress,
) -> BatchReport:
    """Predict a table file, or a folder of them, with a bundle folder; the result lies beside it unless `out` is given.

    A run that was stopped or killed is gone on with by the same call, and its result has the same bytes. InvalidInput
    names the first rows that the signature does not allow; with `skip_bad` they are left out and listed in a file.
    """
    table = table.absolute()
    out = _out(table, out)
    listed = out.with_name(f"{out.name}.left-out.jsonl")
    predictor = open_bundle(bundle)
    check_roles(predictor.signature)  # of a bundle that an older Boucle made
    plan = make_plan(
        table,
        predictor.signature,
        bundle_digest,
        csv_format or CsvFormat(),
        progress,
        piece_rows=piece_rows,
        piece_bytes=piece_bytes,
    )
    if not plan.pieces:
        raise _no_rows(table)
    _refuse_own(plan, out, listed)
    with workplace(out, f"{plan.id}{'-skip' if skip_bad else ''}") as folder:
        left = [piece for piece in plan.pieces if finished(folder, piece) is None]
        with progress.task("predict", len(plan.pieces), even=True) as task:
            task.advance(len(plan.pieces) - len(left))
            rows = 0
            for part in _parts(left, bundle, plan, folder, skip_bad=skip_bad, jobs=jobs):
                if part.bad and not skip_bad:
                    raise _refused(part.bad, table)
                rows += part.rows
                task.advance(note=f"{rows:,} rows")
        rows, with_bad, left_out, bad = _whole(plan, folder)
        if rows:
            if left_out or listed.exists():  # an earlier result's list would be taken for this one's
                list_left_out((left_out_file(folder, piece) for piece in with_bad), listed, folder)
            files = [part_file(folder, piece) for piece in plan.pieces]
            put_together(files, columns_of(predictor.signature), out, folder)
    if not rows:
        raise _refused(bad, table, is_all=True) if bad else _no_rows(table)
    return BatchReport(
        out=str(out),
        bad_rows=str(listed) if left_out else None,
        rows=rows,
        left_out=left_out,
        files=len(plan.files),
        number=number,
        bundle_digest=bundle_digest,
        batch=plan.id,
        kept_pieces=len(plan.pieces) - len(left),
        pieces=len(plan.pieces),
    )


def _out(table: Path, out: Path | None) -> Path:
    # The whole name: `loans.csv` and `loans.parquet` are two tables.
    found = (out or table.with_name(f"{table.name}.predictions.parquet")).absolute()
    if found.suffix.lower() not in RESULTS:
        raise InvalidInput(
            f"--out {found.name!r} is of an unknown kind; allowed are files that end with .parquet, .csv"
        )
    if found.is_dir() or not found.parent.is_dir():
        raise InvalidInput(
            f"--out {str(found)!r} cannot be a file there", hint=f"mkdir -p '{found.parent}', or give another --out"
        )
    if found.resolve() == table.resolve() or (table.is_dir() and table.resolve() in found.resolve().parents):
        raise InvalidInput(f"--out {str(found)!r} is a part of the table itself", hint="give an --out beside the table")
    return found


def _refuse_own(plan: Plan, *results: Path) -> None:
    """InvalidInput if a result would take the place of a file that is read, under whichever name."""
    for result in results:
        if result.exists() and any(result.samefile(file.path) for file in plan.files):
            raise InvalidInput(f"{str(result)!r} is a part of the table itself", hint="give another --out")


def _parts(left: list[Piece], bundle: Path, plan: Plan, folder: Path, *, skip_bad: bool, jobs: int) -> Iterator[Part]:
    """The parts in the order of their pieces, while others are worked on."""
    if min(jobs, len(left)) <= 1:
        predictor = open_bundle(bundle)
        for piece in left:
            yield predict_piece(predictor, plan, piece, folder, skip_bad=skip_bad, threads=jobs)
        return
    jobs = min(jobs, len(left))
    waiting: deque[Future[Part]] = deque()
    with _one_core_each(), ProcessPoolExecutor(jobs, get_context("spawn"), begin_process) as pool:
        try:
            for piece in left:
                waiting.append(pool.submit(predict_apart, bundle, plan, piece, folder, skip_bad))
                if len(waiting) >= 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise Unavailable(
                "a process that predicts was killed, perhaps because memory ran out",
                hint="give the same command again, with --threads 1 if memory is short: what is finished is kept",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_core_each() -> Iterator[None]:
    """Processes that start within the block compute with one thread each."""
    names = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _whole(plan: Plan, folder: Path) -> tuple[int, list[Piece], int, list[BadRow]]:
    """How many rows all pieces have, which leave rows out, how many, and the first of these."""
    rows, left_out = 0, 0
    with_bad: list[Piece] = []
    bad: list[BadRow] = []
    for piece in plan.pieces:
        part = finished(folder, piece)
        assert part is not None
        rows += part.rows
        left_out += part.left_out
        with_bad += [piece] if part.left_out else []
        bad += part.bad[: TOLD - len(bad)]
    return rows, with_bad, left_out, bad


def _no_rows(table: Path) -> InvalidInput:
    return InvalidInput(f"{table.name} has no rows; at least one is needed", hint=f"ls -l '{table}'")


def _refused(bad: list[BadRow], table: Path, *, is_all: bool = False) -> InvalidInput:
    lines = "\n".join(f"  {one.file}, {one.where}: {one.reason}" for one in bad)
    more = "the first of them" if len(bad) >= TOLD else f"{len(bad):,} of them" if len(bad) > 1 else "it"
    return InvalidInput(
        f"{'all rows' if is_all else 'rows'} of {table.name} cannot be predicted, here {more}:\n{lines}",
        hint="correct them: nothing is left to predict"
        if is_all
        else "correct them, or leave such rows out with --skip-bad; what is finished is kept",
        details={"bad": [{"file": one.file, "where": one.where, "reason": one.reason} for one in bad]},
    )
