"""Key and time: columns that clients may send beside a model's inputs, and that predictions of a table keep. Pure."""

from typing import Final

from boucle.kernel.errors import InvalidInput
from boucle.packaging.records import Signature

FILE: Final = "file"
PREDICTION_ID: Final = "prediction_id"
PREDICTIONS: Final = (FILE, PREDICTION_ID)
"""Columns that the predictions of a table have of their own, beside the model's outputs."""
RESERVED: Final = (*PREDICTIONS, "probability", "label", "value")
"""What the column of a key or time is never called, whatever the model will answer."""


def check_roles(signature: Signature) -> None:
    """InvalidInput where key or time is called as a column is that the model takes, or that its predictions have."""
    taken = {one.name: "one that the model takes; key and time are columns beside those" for one in signature.inputs}
    of_its_own = "a column that predictions have of their own, which would hide it"
    taken |= dict.fromkeys((*PREDICTIONS, *(one.name for one in signature.outputs)), of_its_own)
    for name in (signature.key, signature.time):
        if name in taken:
            raise InvalidInput(
                f"column {name!r} is {taken[name]}",
                hint="call it otherwise, in the table and where the model is bundled",
            )
    if signature.key is not None and signature.key == signature.time:
        raise InvalidInput(f"column {signature.key!r} is both key and time; one column has one role")
