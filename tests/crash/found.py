"""What lies in a home: whether it is consistent, and what it holds, apart from clocks, durations and random ids."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import text

from boucle.kernel import audit, trees
from boucle.kernel.blobs import BlobStore
from boucle.kernel.care.layout import files, kind_of
from boucle.kernel.digests import Digest, digest_file
from boucle.kernel.store import Store
from boucle.loop.store import decided, latest_stream
from boucle.models.api import list_versions
from boucle.models.store import all_moves
from boucle.monitoring.api import alerts, windows
from boucle.monitoring.store import find_labels
from boucle.serving.api import read_frames

NAME = "orders"
_OF_TESTS = re.compile("frames/.*|trees/.*|work/.*|go|stop|[^/]+[.]ready")
"""What `writer.py` and `hammer.py` keep in a home."""
_DIGESTS = (
    ("model_versions", "bundle_digest"),
    ("model_versions", "dataset_digest"),
    ("model_versions", "evaluation_digest"),
    ("dataset_versions", "digest"),
    ("dataset_versions", "profile_digest"),
    ("monitoring_windows", "profile_digest"),
    ("monitoring_windows", "predictions_digest"),
    ("monitoring_labels", "digest"),
)


def facts(home: Path) -> dict[str, Any]:
    """What a run or a replay decided and made; two homes with the same facts came to the same result."""
    with Store.open(home) as store:
        stream = store.read(lambda conn: latest_stream(conn, NAME))
        name = stream.stream if stream else ""
        decisions = store.read(lambda conn: decided(conn, NAME, name))
        labels = store.read(lambda conn: find_labels(conn, NAME, name))
        served = windows(store, NAME, name)
        opened = alerts(store, NAME, name)
        moves = store.read(lambda conn: all_moves(conn, NAME, NAME, "champion"))
        return {
            "versions": [
                (one.number, one.bundle_digest, one.dataset_digest, one.evaluation_digest, one.note)
                for one in list_versions(store, NAME, NAME)
            ],
            "charge": [(one.number, one.actor, one.reason) for one in moves],
            "stream": stream and (stream.stream, stream.done_through, stream.complete, stream.first_version),
            "decisions": [(one.id, msgspec.to_builtins(one.action), one.outcome, one.version) for one in decisions],
            "windows": [
                msgspec.structs.asdict(one) | {"service": (one.service.requests, one.service.errors)} for one in served
            ],
            "labels": [(one.arrived_at, one.rows, one.digest) for one in labels],
            "alerts": [(one.id, one.opened_on, one.closed_on) for one in opened],
        }


def check(home: Path) -> None:
    """Fail if anything in the home is half, missing or contradicts itself. Changes the home as opening it does."""
    if not home.exists():
        return
    names = [name for name, _ in files(home) if not _OF_TESTS.fullmatch(name)]
    assert [name for name in names if kind_of(name) is None] == []
    blobs = BlobStore(home / "blobs")
    for file in (home / "blobs").glob("??/*"):
        assert digest_file(file) == file.name, file
    for folder in (*home.glob("cache/trees/*"), *home.glob("cache/bundles/*"), *home.glob("serving/bundles/*")):
        if not folder.name.startswith("."):
            assert trees.digest_folder(folder) == folder.name, folder
    for file in (*home.glob("*.json"), *home.glob("cache/*.json"), *home.glob("serving/*/*.json")):
        if not file.name.startswith("."):
            msgspec.json.decode(file.read_bytes())
    for folder in (*home.glob("serving/*/log"), home / "frames"):
        assert all(frame.rows for frame, _ in read_frames(folder, on_damage=_only_a_cut_end))
    if not (home / "boucle.db").exists():
        return
    with closing(sqlite3.connect(home / "boucle.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    with Store.open(home) as store:
        assert audit.verify(store).problems == []
        for table, column in _DIGESTS:
            query = text(f"SELECT {column} FROM {table}")
            for digest in store.read(lambda conn, query=query: conn.execute(query).scalars().all()):
                assert blobs.has(Digest(digest)), (table, column, digest)
        for version in list_versions(store, NAME, NAME):
            assert all(blobs.has(entry.digest) for entry in trees.entries(blobs, version.bundle_digest))


def _only_a_cut_end(damage: Any) -> None:
    assert "cut off" in damage.message, damage
