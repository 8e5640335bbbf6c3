"""One row, asked the short way, gives the same bits as a table of one, whatever the model."""

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression

from boucle.packaging.api import open_bundle
from boucle.packaging.from_model import bundle

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(300, 4))
TARGETS = SimpleNamespace(
    two=(ROWS[:, 0] > 0).astype(int), three=np.digitize(ROWS[:, 0], [-0.5, 0.5]), number=ROWS[:, 0] * 2
)


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (RandomForestClassifier(10, random_state=0), "two"),
        (RandomForestClassifier(10, random_state=0), "three"),
        (RandomForestRegressor(10, random_state=0), "number"),
        (LogisticRegression(), "two"),
    ],
)
def test_a_row_is_answered_as_a_table_of_one(tmp_path: Path, model: Any, target: str) -> None:
    model.fit(ROWS, getattr(TARGETS, target))
    predictor = open_bundle(bundle(model, sample=ROWS[:50], path=tmp_path, name="m"))
    names = [one.name for one in predictor.signature.inputs]
    for row in ROWS.tolist():
        alone = predictor.predict({name: [value] for name, value in zip(names, row, strict=True)})
        assert predictor.single.ask(row) == [values[0] for values in alone.values()]
    assert predictor.single.seconds > 0
    for wrong in ([None, 0.0, 0.0, 0.0], [0.0] * 3):
        with pytest.raises(struct.error):
            predictor.single.ask(wrong)
