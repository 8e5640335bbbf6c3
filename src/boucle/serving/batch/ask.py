"""Predicting one piece: read, checked as an endpoint checks a request, asked, kept as a part."""

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.kernel.errors import Conflict, InvalidInput
from boucle.kernel.paths import write_atomic
from boucle.packaging.bundle import Predictor, open_bundle
from boucle.packaging.records import Signature
from boucle.packaging.roles import FILE, PREDICTION_ID
from boucle.serving.batch.plan import state_of
from boucle.serving.batch.read import Columns, places_of, read_piece
from boucle.serving.batch.records import BadRow, Part, Piece, Plan, TableFile
from boucle.serving.question import Checked, Question, check

TOLD: Final = 20
"""So many bad rows are named where none may be left out."""
_ROW = re.compile(r", row 0(?=[: ])")
_MAX_ROWS: Final = 1 << 40


def part_file(folder: Path, piece: Piece) -> Path:
    """Where the predictions of a piece are kept until all are done."""
    return folder / f"{piece.number:08d}.parquet"


def left_out_file(folder: Path, piece: Piece) -> Path:
    """Where the rows of a piece that are left out are listed, if there are any."""
    return folder / f"{piece.number:08d}.left-out.jsonl"


def report_file(folder: Path, piece: Piece) -> Path:
    """What came of a piece; it is written last, so a piece that has it is finished."""
    return folder / f"{piece.number:08d}.json"


def finished(folder: Path, piece: Piece) -> Part | None:
    """What came of a piece that is finished."""
    try:
        return msgspec.json.decode(report_file(folder, piece).read_bytes(), type=Part)
    except FileNotFoundError:
        return None


def columns_of(signature: Signature) -> list[str]:
    """All columns that predictions may have, in their order: file, key and time only where there are any."""
    optional = [one for one in (signature.key, signature.time) if one is not None]
    return [FILE, *optional, *(one.name for one in signature.outputs), PREDICTION_ID]


def predict_piece(
    predictor: Predictor, plan: Plan, piece: Piece, folder: Path, *, skip_bad: bool, threads: int
) -> Part:
    """Predict a piece and keep it in `folder`. A piece with bad rows is kept only if they may be left out."""
    file = plan.files[piece.file]
    request_id = f"{plan.id}/{piece.number}"
    with _unchanged(file):
        columns = read_piece(file, piece, predictor.signature)
        good, matrix, wrong = sift(columns, predictor, request_id, most=None if skip_bad else TOLD)
        places = places_of(file, piece, [row for row, _ in wrong])
    bad = [BadRow(file=file.name, where=at, reason=reason) for at, (_, reason) in zip(places, wrong, strict=True)]
    if bad and not skip_bad:  # looked for no further than these
        return Part(rows=0, left_out=len(bad), bad=bad)
    outputs = predictor.ask(matrix, threads)
    table = _table(good, outputs, predictor.signature, request_id, file.name if plan.is_folder else None)
    data = BytesIO()
    table.write_parquet(data, compression="zstd", compression_level=1)
    write_atomic(part_file(folder, piece), data.getvalue())
    if bad:
        write_atomic(left_out_file(folder, piece), b"".join(msgspec.json.encode(one) + b"\n" for one in bad))
    part = Part(rows=good.rows, left_out=len(bad), bad=bad[:TOLD])
    write_atomic(report_file(folder, piece), msgspec.json.encode(part))
    return part


@contextmanager
def _unchanged(file: TableFile) -> Iterator[None]:
    """Conflict, whatever else was found, if a file is not the planned one when it was read within the block."""
    try:
        yield
    except (InvalidInput, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        _require_unchanged(file)
        if isinstance(error, InvalidInput):
            raise
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InvalidInput(f"{file.name} cannot be read: {said}", hint=f"write {file.path} again") from error
    _require_unchanged(file)


def _require_unchanged(file: TableFile) -> None:
    with suppress(OSError):
        if state_of(file.path) == file.state:
            return
    raise Conflict(
        f"{file.name} changed while it was predicted, so that there is no result",
        hint="give the same command again when nothing writes to it any more",
    )


def sift(
    columns: Columns, predictor: Predictor, request_id: str, *, most: int | None
) -> tuple[Checked, NDArray[np.float64], list[tuple[int, str]]]:
    """The rows that serving would answer, checked and as the model's matrix, and the others with the reason.

    Looks for no more than `most`.
    """
    rows = max((len(values) for values in columns.values()), default=0)
    wrong: list[tuple[int, str]] = []
    try:
        return *_encoded(columns, predictor, request_id), wrong
    except InvalidInput:
        _find_wrong(columns, predictor, request_id, 0, rows, wrong, most)
    left_out = {row for row, _ in wrong}
    good = [] if most is not None else [row for row in range(rows) if row not in left_out]
    kept: Columns = {
        name: values[good] if isinstance(values, np.ndarray) else [values[row] for row in good]
        for name, values in columns.items()
    }
    return *_encoded(kept, predictor, request_id), wrong


def _find_wrong(
    columns: Columns,
    predictor: Predictor,
    request_id: str,
    first: int,
    last: int,
    wrong: list[tuple[int, str]],
    most: int | None,
) -> None:
    """Halve the rows until those that are refused stand alone: what is wrong is only ever said as serving says it."""
    if most is not None and len(wrong) >= most:
        return
    try:
        _encoded({name: values[first:last] for name, values in columns.items()}, predictor, request_id)
    except InvalidInput as error:
        if last - first <= 1:
            wrong.append((first, _ROW.sub("", error.message, count=1)))
            return
        middle = (first + last) // 2
        _find_wrong(columns, predictor, request_id, first, middle, wrong, most)
        _find_wrong(columns, predictor, request_id, middle, last, wrong, most)


def _encoded(columns: Columns, predictor: Predictor, request_id: str) -> tuple[Checked, NDArray[np.float64]]:
    """InvalidInput for what the signature does not allow, and for what the model does not answer."""
    checked = check(Question(columns, request_id), predictor.signature, max_rows=_MAX_ROWS)
    return checked, predictor.encode(checked.inputs)


def _table(
    good: Checked,
    outputs: dict[str, NDArray[Any] | list[str]],
    signature: Signature,
    request_id: str,
    file: str | None,
) -> pl.DataFrame:
    """Key and time as they were sent, then what the model says, then the id by which a label finds it."""
    head: dict[str, pl.Series] = {} if file is None else {FILE: pl.Series([file] * good.rows, dtype=pl.String)}
    if signature.key is not None and good.entity_key is not None:
        head[signature.key] = pl.Series(good.entity_key, dtype=pl.String)
    if signature.time is not None and good.event_time is not None:
        times = pl.Series(good.event_time, dtype=pl.String)
        head[signature.time] = times.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC")
    answers = {
        output.name: pl.Series(outputs[output.name], dtype=pl.Float64 if output.datatype == "FP64" else pl.String)
        for output in signature.outputs
    }
    ids = pl.DataFrame({PREDICTION_ID: pl.Series(range(good.rows), dtype=pl.Int64)}).select(
        pl.format("{}-{}", pl.lit(request_id), pl.col(PREDICTION_ID)).alias(PREDICTION_ID)
    )
    return pl.DataFrame(head | answers).with_columns(ids.get_columns())


# --- a process of several ----------------------------------------------------------------------------------------

_opened: dict[Path, Predictor] = {}


def begin_process() -> None:
    """Prepare a process that predicts pieces: it leaves Ctrl-C to the one that started it, and ends with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def predict_apart(bundle: Path, plan: Plan, piece: Piece, folder: Path, skip_bad: bool) -> Part:
    """`predict_piece` in a process of its own, which opens the bundle once."""
    predictor = _opened.get(bundle)
    if predictor is None:
        predictor = _opened[bundle] = open_bundle(bundle)
    return predict_piece(predictor, plan, piece, folder, skip_bad=skip_bad, threads=1)
