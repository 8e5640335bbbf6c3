"""Makes the golden files: what this version of Boucle writes, for every later version to open.

.venv/bin/python tests/golden/make.py

A golden file of a released format is never made again: whatever exists already is left alone. Run it at the commit that
brings a new schema revision or format, before the next one does.
"""

import io
import json
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from many import many_values

from boucle.app.main import run_command
from boucle.data.profile_file import FORMAT as PROFILE_FORMAT
from boucle.data.profile_file import ProfiledTable, to_bytes
from boucle.data.profiles import profile as full_profile
from boucle.data.table_file import Shape
from boucle.kernel import trees
from boucle.kernel.care.archive import FORMAT as BACKUP_FORMAT
from boucle.kernel.digests import canonical_json
from boucle.kernel.schema import REVISIONS
from boucle.kernel.store import Store
from boucle.models.api import alias, get_version
from boucle.packaging.api import open_kept
from boucle.packaging.manifest import FORMAT as BUNDLE_FORMAT
from boucle.pipeline.cache import _FORMAT as CACHE_FORMAT
from boucle.serving.api import log_folder, read_frames

HERE = Path(__file__).parent
CRASH = HERE.parent / "crash"
FACTS = (["status"], ["models", "list"], ["models", "history"], ["audit", "verify"])
LIVE_FACTS = (
    *FACTS,
    *(["loop", "explain", f"live/2024-01-12/{number:02}"] for number in range(2)),
    ["loop", "explain", "live/2024-01-11/00"],
)
"""What is told of a home with a live stream: also which facts led to its decisions."""
QUESTION: dict[str, list[Any]] = {
    "kind": ["a", "c", None, "new"],
    "x": [0.3, 7.1, None, -2.0],
    "z": [1.0, 0.0, -1.0, None],
}
YAML = """\
project: orders
data:
  source: orders.parquet
  time: at
  key: id
  target: late
  features: {categorical: [kind], numeric: [x, z]}
  checks:
    - {check: range, column: z, min: -8, max: 8, on_fail: quarantine}
objectives:
  - {metric: auc_roc, at_least: 0.55}
  - {metric: availability, at_least: 0.99}
training:
  until: 2024-01-31
  holdout_days: 4
  params: {max_iter: 12, min_samples_leaf: 10, max_leaf_nodes: 6}
  search: {trials: 2, retrain_trials: 1, space: {learning_rate: {low: 0.1, high: 0.4}}}
  cross_validation: {folds: 2}
evaluation: {bootstrap: 20}
monitoring: {labels_delay_days: 2, performance_days: 4}
loop:
  retrain: {cooldown_days: 6, decay: 0.1}
  promote: {min_rows: 60, margin: 0.0}
  rollback: {min_rows: 80, loss: 0.05, watch_days: 20}
replay:
  first: 2024-01-31
  last: 2024-02-24
  batch_rows: 32
  drills:
    - {drill: corrupt, first: 2024-02-05, last: 2024-02-06, columns: {z: z + 100}}
    - {drill: shuffled_labels, on: 2024-02-12}
"""
ANSWERS = """\
project: orders
target: late
asked_when: when the order is placed
errors: miss
latency_ms: 50
data_from: the shop
systems: [the shop]
reviews: 1
approvers: [ada, grace]
keep_days: 365
"""


def write_project(folder: Path, *, days: int = 56, rows_a_day: int = 20, turns_on: int = 36, seed: int = 5) -> Path:
    """A project whose world turns over on a day: `x` lies elsewhere and the label follows its opposite."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), rows_a_day)
    turned = day >= turns_on
    x, z = draw.normal(size=day.size).round(3), draw.normal(size=day.size).round(3)
    late = draw.random(day.size) < 1 / (1 + np.exp(-np.where(turned, -2.5, 2.5) * x))
    start = datetime(2024, 1, 1, tzinfo=UTC)
    pl.DataFrame(
        {
            "id": [f"o{n}" for n in range(day.size)],
            "at": [start + timedelta(days=int(one), minutes=n % rows_a_day * 20) for n, one in enumerate(day)],
            "kind": draw.choice(["a", "b", "c"], day.size),
            "x": x + np.where(turned, 6.0, 0.0),
            "z": z,
            "late": late.astype(int),
        }
    ).write_parquet(folder / "orders.parquet")
    (folder / "boucle.yaml").write_text(YAML, encoding="utf-8")
    return folder


def told(folder: Path, *words: str) -> Any:
    """What a command with `--json` prints; it must succeed."""
    with redirect_stdout(io.StringIO()) as out:
        code = run_command([*words, "--project", str(folder), "--json"])
    if code != 0:
        raise SystemExit(f"boucle {' '.join(words)} ended with {code}: {out.getvalue()}")
    return json.loads(out.getvalue())


def make_home(folder: Path) -> None:
    """The archive of a home after `run` and `replay`, and what its commands and its model answered."""
    archive = HERE / f"home-{REVISIONS[-1]}.tar.xz"
    if archive.exists():
        return
    facts = {" ".join(words): told(folder, *words) for words in FACTS}
    with Store.open(folder / ".boucle") as store:
        champion = alias(store, "orders", "orders", "champion")
        assert champion is not None
        answers = _answers(store, champion.number)
    frames = [frame for frame, _ in read_frames(log_folder(folder / ".boucle", "orders"))]
    expected = {
        "facts": facts,
        **answers,
        "logged": [[frame.request_id, frame.number, frame.rows] for frame in frames],
    }
    (HERE / f"home-{REVISIONS[-1]}.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(folder, arcname=".", filter=_without_locks)


def make_live(folder: Path) -> None:
    """The archive of a home whose live stream went through a cycle."""
    archive = HERE / f"live-{REVISIONS[-1]}.tar.xz"
    if archive.exists():
        return
    serve_live(folder)
    facts = {" ".join(words): told(folder, *words) for words in LIVE_FACTS}
    (HERE / f"live-{REVISIONS[-1]}.json").write_text(json.dumps({"facts": facts}, indent=1) + "\n", encoding="utf-8")
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(folder, arcname=".", filter=_without_locks)


def serve_live(folder: Path) -> None:
    """Serve, watch and decide on all days of the project that is in a folder, or that is laid there."""
    code = (
        f"import sys; sys.path.insert(0, {str(CRASH)!r}); from pathlib import Path; import live, project;"
        f"folder = Path({str(folder)!r}); folder.exists() or project.lay(folder); live.main([str(folder)])"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def make_formats(folder: Path) -> None:
    """One file (or folder) of each format on its own, taken from that home."""
    home = folder / ".boucle"
    with Store.open(home) as store:
        version = get_version(store, "orders", "orders", 1)
        evaluation = store.blobs.get(version.evaluation_digest)
        answers = canonical_json(_answers(store, 1))
        dataset = store.blobs.path(version.dataset_digest)
        profile = _profile(store)
        _copy(trees.materialise(store.blobs, version.bundle_digest, folder / "bundle"), f"bundle-{BUNDLE_FORMAT}")
        _copy(dataset, "dataset-1.parquet")
        tree = store.blobs.path(version.bundle_digest)
        _copy(tree, "tree-1.json")
    _write("evaluation-1.json", evaluation)
    _write("answers-1.json", answers)
    _write("profile-1.json", profile)
    full = full_profile(many_values(), full=True)
    _write("profile-3.json", canonical_json(full))
    columns: dict[str, Shape] = {"x": "number", "gaps": "number", "text": "text"}
    kept = ProfiledTable(source="many.csv", columns=columns, profile=full)
    _write(f"kept-{PROFILE_FORMAT}-sampled.profile", to_bytes(kept))
    _copy(folder / "boucle.yaml", "boucle-1.yaml")
    _copy(home / "audit-head.json", "audit-head-1.json")
    _copy(home / "serving" / "orders" / "traffic.json", "traffic-1.json")
    _copy(min((home / "serving" / "orders" / "log").glob("segment-*.log")), "prediction-log-1.log")
    manifests = [path for path in (home / "cache").glob("*.json") if b'"step":"bundle"' in path.read_bytes()]
    _copy(min(manifests), f"cache-manifest-{CACHE_FORMAT}.json")
    told(folder, "backup", str(folder / "backup.tar"))
    _write(f"backup-{BACKUP_FORMAT}.tar.xz", lzma.compress((folder / "backup.tar").read_bytes()))
    _copy(_statement_of_needs(folder), "needs-1.yaml")


def _statement_of_needs(folder: Path) -> Path:
    """What `boucle init` writes beside boucle.yaml."""
    (folder / "answers.yaml").write_text(ANSWERS, encoding="utf-8")
    (folder / "new").mkdir()
    told(folder / "new", "init", str(folder / "orders.parquet"), "--answers", str(folder / "answers.yaml"))
    return folder / "new" / "needs.yaml"


def _answers(store: Store, number: int) -> dict[str, dict[str, list[Any]]]:
    """A question with a missing and an unseen value, and what a version answers."""
    digest = get_version(store, "orders", "orders", number).bundle_digest
    answer = open_kept(store, digest).predict(QUESTION)
    plain = {name: values if isinstance(values, list) else values.tolist() for name, values in answer.items()}
    return {"question": QUESTION, "answer": plain}


def _profile(store: Store) -> bytes:
    from boucle.data.api import get_version as get_dataset

    dataset = get_version(store, "orders", "orders", 1).dataset_digest
    return store.blobs.get(get_dataset(store, dataset).profile_digest)


def _write(name: str, data: bytes) -> None:
    if not (HERE / "formats" / name).exists():
        (HERE / "formats" / name).write_bytes(data)


def _copy(source: Path, name: str) -> None:
    target = HERE / "formats" / name
    if target.exists():
        return
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def _without_locks(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    left = ".lock" in member.name or member.name.endswith("server.log") or "/present/" in member.name
    return None if left else member


def main() -> None:
    """Make what is missing."""
    (HERE / "formats").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_project(Path(temporary) / "orders")
        told(folder, "run")
        told(folder, "replay")
        told(folder, "users", "add", "ada", "--role", "admin")
        make_home(folder)
        make_formats(folder)
        make_live(Path(temporary) / "live" / "orders")


if __name__ == "__main__":
    main()
