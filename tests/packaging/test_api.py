from pathlib import Path

import numpy as np
import polars as pl
import pytest

from boucle.kernel.errors import Damaged
from boucle.kernel.store import Store
from boucle.packaging.api import keep, open_bundle, open_kept, package, predict_table
from boucle.packaging.records import PackagingSection
from boucle.training.records import Fitted


def test_a_kept_bundle_answers_the_same(fitted: Fitted, held_out: pl.DataFrame, tmp_path: Path) -> None:
    package(fitted, held_out, tmp_path / "bundle", PackagingSection(), key=None, time=None)
    with Store.open(tmp_path / "home") as store:
        kept = keep(store, tmp_path / "bundle")
        assert keep(store, tmp_path / "bundle") == kept
        expected = predict_table(open_bundle(tmp_path / "bundle"), held_out)["probability"]
        for _ in range(2):
            predictor = open_kept(store, kept.digest)
            assert np.array_equal(predict_table(predictor, held_out)["probability"], expected)
        assert predictor.manifest == kept.manifest


def test_a_changed_cached_bundle_is_noticed(fitted: Fitted, held_out: pl.DataFrame, tmp_path: Path) -> None:
    package(fitted, held_out, tmp_path / "bundle", PackagingSection(), key=None, time=None)
    with Store.open(tmp_path / "home") as store:
        kept = keep(store, tmp_path / "bundle")
        open_kept(store, kept.digest)
        (store.home / "cache" / "bundles" / kept.digest / "requirements.txt").write_text("evil==1\n")
        with pytest.raises(Damaged):
            open_kept(store, kept.digest)
