"""Turns a fitted model into data that a small runtime answers from."""

from collections.abc import Callable

import numpy as np

from boucle.packaging.manifest import MODEL
from boucle.packaging.records import EncodeStage, PostStage, Stage, TreeliteStage
from boucle.training.records import Fitted

Compiler = Callable[[Fitted], bytes]
"""A fitted model to the bytes of `model.treelite`. Compilers are not trusted: see `boucle.packaging.parity`."""


def compile_treelite(fitted: Fitted) -> bytes:
    """treelite's checkpoint of a scikit-learn histogram gradient boosting. The same trees give the same bytes."""
    import treelite

    # treelite (4.8) casts scikit-learn's list of categories to integers, and the last of that list may be NaN
    with np.errstate(invalid="ignore"):
        return bytes(treelite.sklearn.import_model(fitted.estimator).serialize_bytes())


def stages_of(fitted: Fitted) -> list[Stage]:
    """The stages that answer from `compile_treelite`'s file."""
    # treelite's own softmax rounds to float32 on the way (6e-8 off, measured with 4.8), so that stage is ours
    several = fitted.task == "multiclass"
    return [
        EncodeStage(),
        TreeliteStage(file=MODEL, margins=several),
        PostStage(link="softmax" if several else "identity"),
    ]
