"""Turns a fitted model into data that a small runtime answers from."""

from collections.abc import Callable

import numpy as np

from boucle.training.records import Fitted

Compiler = Callable[[Fitted], bytes]
"""A fitted model to the bytes of `model.treelite`. Compilers are not trusted: see `boucle.packaging.parity`."""


def compile_treelite(fitted: Fitted) -> bytes:
    """treelite's checkpoint of a scikit-learn histogram gradient boosting. The same trees give the same bytes."""
    import treelite

    # treelite (4.8) casts scikit-learn's list of categories to integers, and the last of that list may be NaN
    with np.errstate(invalid="ignore"):
        return bytes(treelite.sklearn.import_model(fitted.estimator).serialize_bytes())
