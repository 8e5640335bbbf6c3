"""Evaluations in the blob store. Light: who only reads one loads nothing that measures."""

import msgspec

from boucle.evaluation.records import Evaluation
from boucle.kernel.digests import Digest, canonical_json, short
from boucle.kernel.errors import Damaged
from boucle.kernel.points import reach
from boucle.kernel.store import Store


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
