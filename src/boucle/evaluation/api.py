"""What other rooms may use of evaluation."""

import msgspec

from boucle.evaluation.compare import compare, measure, measure_between
from boucle.evaluation.curves import calibration_curve
from boucle.evaluation.evaluate import MOST_SLICES, SLICE_ROWS, evaluate
from boucle.evaluation.metrics import METRICS, direction, metric_for, metric_names, sample_of
from boucle.evaluation.records import Evaluation
from boucle.kernel.digests import Digest, canonical_json, short
from boucle.kernel.errors import Damaged
from boucle.kernel.points import reach
from boucle.kernel.store import Store

__all__ = [
    "METRICS",
    "MOST_SLICES",
    "SLICE_ROWS",
    "calibration_curve",
    "compare",
    "direction",
    "evaluate",
    "keep_evaluation",
    "load_evaluation",
    "measure",
    "measure_between",
    "metric_for",
    "metric_names",
    "sample_of",
]


def keep_evaluation(store: Store, evaluation: Evaluation) -> Digest:
    """Keep an evaluation in the blob store; its digest names it."""
    reach("evaluation.measured")
    digest = store.blobs.put(canonical_json(evaluation))
    reach("evaluation.kept")
    return digest


def load_evaluation(store: Store, digest: Digest) -> Evaluation:
    """A kept evaluation."""
    try:
        return msgspec.json.decode(store.blobs.get(digest), type=Evaluation)
    except msgspec.MsgspecError as error:
        raise Damaged(f"blob {short(digest)} is no evaluation: {error}") from error
