"""What a repeated run does to who is in charge, through the command line's own functions, on a small table."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from boucle.app.main import run_command
from boucle.governance.api import list_reports
from boucle.kernel.errors import GatesRefused, InvalidInput, NotFound, Refused
from boucle.kernel.progress import Silent
from boucle.models.api import history
from boucle.models.records import CHAMPION
from boucle.packaging.signing import fingerprint, new_key, private_pem, public_pem
from boucle.project.context import open_context
from boucle.project.lifecycle import RunReport, check_project, run_project

YAML = """\
project: orders
data: {{source: {source}, target: late, features: {{numeric: [x, z]}}}}
objectives: [{{metric: {metric}, at_least: {at_least}}}]
training:
  params: {{max_iter: 10, min_samples_leaf: 5}}
  search: {{trials: 1}}
  cross_validation: {{folds: 2, order: shuffled}}
evaluation: {{bootstrap: 20}}
"""

pytestmark = pytest.mark.slow


def write(folder: Path, *, metric: str = "auc_roc", at_least: float = 0.6, source: str = "orders.parquet") -> None:
    (folder / "boucle.yaml").write_text(YAML.format(metric=metric, at_least=at_least, source=source))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(1)
    x, z = draw.normal(size=600), draw.normal(size=600)
    late = (draw.random(600) < 1 / (1 + np.exp(-2 * x))).astype(int)
    pl.DataFrame({"x": x, "z": z, "late": late}).write_parquet(tmp_path / "orders.parquet")
    write(tmp_path)
    return tmp_path


def run(folder: Path) -> RunReport:
    with open_context(folder) as context:
        return run_project(context, Silent())


def test_a_repeated_run_is_refused_when_the_objective_has_risen(folder: Path) -> None:
    assert run(folder).in_charge == 1
    write(folder, at_least=0.99)
    with pytest.raises(Refused, match=r"at least 0\.99 is required"):
        run(folder)


def test_going_back_to_an_objective_goes_back_to_its_policy(folder: Path) -> None:
    first = run(folder)
    write(folder, at_least=0.7)
    run(folder)
    write(folder)
    again = run(folder)
    assert {step.state for step in again.steps} == {"cached"}
    assert again.gates.policy_digest == first.gates.policy_digest
    with open_context(folder) as context:
        reports = list_reports(context.store(), "orders", "orders", 1)
        assert reports[-1].policy_digest == first.gates.policy_digest
        assert len(history(context.store(), "orders", "orders", CHAMPION)) == 1


def test_a_table_beside_a_python_source_is_read_again_when_it_changed(folder: Path) -> None:
    (folder / "orders.py").write_text(
        "from pathlib import Path\nimport polars as pl\n\n\n"
        "def load() -> pl.DataFrame:\n    return pl.read_parquet(Path(__file__).parent / 'orders.parquet')\n"
    )
    write(folder, source="orders.py:load")
    first = run(folder)
    pl.read_parquet(folder / "orders.parquet").head(500).write_parquet(folder / "orders.parquet")
    second = run(folder)
    assert (first.source.rows, second.source.rows) == (600, 500)


def test_a_metric_that_does_not_fit_the_target_is_told_before_any_training(folder: Path) -> None:
    write(folder, metric="r2")
    with (
        open_context(folder) as context,
        pytest.raises(InvalidInput, match=r"boucle\.yaml:\d+: .*metric: r2 does not measure a binary model"),
    ):
        check_project(context, Silent())


def test_a_feature_that_copies_the_target_is_refused_without_any_check(folder: Path) -> None:
    table = pl.read_parquet(folder / "orders.parquet")
    table.with_columns(z=pl.col("late") * 2.0).write_parquet(folder / "orders.parquet")
    with pytest.raises(Refused, match="`z`"):
        run(folder)


def test_a_parameter_that_no_estimator_takes_is_told_with_its_line(folder: Path) -> None:
    text = (folder / "boucle.yaml").read_text()
    (folder / "boucle.yaml").write_text(text.replace("max_iter: 10", "max_iter: -30"))
    with pytest.raises(InvalidInput, match=r"boucle\.yaml:5: training\.params\.max_iter: `-30` is not allowed"):
        run(folder)


def test_a_project_that_asks_for_a_signature_is_in_charge_once_a_key_signed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file's keys are below its folder, and a weaker file is no way round a policy that a command has set."""
    with (folder / "boucle.yaml").open("a") as file:
        file.write("governance: {require_signature: [keys/ada.pub]}\n")
    with open_context(folder) as context, pytest.raises(NotFound, match=r"there is no key '.*/keys/ada\.pub'"):
        check_project(context, Silent())
    key = new_key()
    (folder / "keys").mkdir()
    (folder / "keys" / "ada.pub").write_bytes(public_pem(key.public_key()))
    (folder / "ada.pem").write_bytes(private_pem(key))
    with pytest.raises(GatesRefused, match="no allowed key signed the files") as refused:
        run(folder)
    assert refused.value.hint == "boucle sign orders/1 --key FILE --in orders"
    words = ["sign", "orders/1", "--key", str(folder / "ada.pem"), "--project", str(folder)]
    assert run_command(words) == 0
    assert f"signed version 1 of orders by the key {fingerprint(key.public_key())[:12]}" in capsys.readouterr().out
    assert run(folder).in_charge == 1
