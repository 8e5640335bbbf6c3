"""Kept results of steps: manifests by key in a folder, files in the blob store.

    <home>/cache/<key>.json     a manifest; a broken one counts as none
    <home>/cache/trees/<tree>/  files of a step, written out for those that need it
    <home>/cache/work/          files of steps that are running
    <home>/cache/progress/      how far steps came that were interrupted; a broken one counts as none

A manifest is written last and in one piece, so a step that was killed has none.
"""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from boucle.kernel.blobs import BlobStore
from boucle.kernel.digests import Digest, canonical_json, digest_bytes, digest_json
from boucle.kernel.errors import BoucleError, InvalidInput
from boucle.kernel.paths import make_folder, translate, write_atomic
from boucle.kernel.points import reach
from boucle.kernel.trees import TreeEntry, entries, freeze, materialise
from boucle.pipeline.records import Ingredients, Manifest

_FORMAT: Final = 1
_DATABASE: Final = "boucle.db"
_QUOTED_DIGEST: Final = re.compile(rb'"([0-9a-f]{64})"')
_LARGEST_TREE_BYTES: Final = 4 << 20

V = TypeVar("V")


def key_of(ingredients: Ingredients) -> Digest:
    """The name of a step's result: the digest of all that it depends on."""
    return digest_json([_FORMAT, ingredients])


class _Progress(Struct, frozen=True):
    """How far a step came, with its digest: a wrong byte in a number would be a number as well."""

    digest: Digest
    value: msgspec.Raw


class Cache:
    """The kept results in one home, for one run of a pipeline. Safe for many threads and processes at once."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "cache"
        self.blobs = BlobStore(home / "blobs")
        # Asked once: the first step that runs makes a new database, and then the lost one would no longer be missed.
        self._has_database = (home / _DATABASE).is_file()

    def read(self, key: Digest, returns: type[object]) -> Manifest | None:
        """The manifest with this key; None if there is none, if it is broken, or if something that it names is gone."""
        try:
            file = self.folder / f"{key}.json"
            manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
            msgspec.json.decode(manifest.value, type=returns)
            sound = is_whole(manifest, key) and self.blobs.presence.use(file) and self._all_there(manifest)
            return manifest if sound else None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, InvalidInput):
            return None

    def manifest(
        self, ingredients: Ingredients, value_json: bytes, tree: Digest | None, *, used_database: bool, seconds: float
    ) -> Manifest:
        """The manifest of a step that has run; its files must be in the blob store already."""
        return Manifest(
            format=_FORMAT,
            key=key_of(ingredients),
            step=ingredients.step,
            ingredients=ingredients,
            value=msgspec.Raw(value_json),
            tree=tree,
            blobs=self._blobs_in(value_json, tree),
            used_database=used_database,
            result=_result_of(value_json, tree),
            seconds=seconds,
        )

    def write(self, manifest: Manifest) -> None:
        """Keep a step's result, durably."""
        reach("step.result_known")
        self._write(self.folder / f"{manifest.key}.json", canonical_json(manifest))
        reach("step.result_kept")
        self.forget_progress(manifest.key)

    def progress(self, key: Digest, kind: type[V]) -> V | None:
        """How far an interrupted execution of this step came; None if there was none, or if it is broken."""
        try:
            kept = msgspec.json.decode(self._progress_file(key).read_bytes(), type=_Progress)
            whole = kept.digest == digest_bytes(bytes(kept.value))
            return msgspec.json.decode(kept.value, type=kind) if whole else None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def keep_progress(self, key: Digest, value: object) -> None:
        """Keep how far a step came, durably, instead of what was kept before."""
        reach("step.progress_known")
        value_json = canonical_json(value)
        kept = _Progress(digest=digest_bytes(value_json), value=msgspec.Raw(value_json))
        self._write(self._progress_file(key), msgspec.json.encode(kept))
        reach("step.progress_kept")

    def forget_progress(self, key: Digest) -> None:
        """The step has its result, or shall start anew."""
        reach("step.progress_stale")
        self._progress_file(key).unlink(missing_ok=True)
        reach("step.progress_forgotten")

    def work_folder(self, key: Digest) -> Path:
        """An empty folder for the files of a step that is about to run in this process."""
        folder = self.folder / "work" / f"{os.getpid()}-{key}"
        with translate(folder):
            shutil.rmtree(folder, ignore_errors=True)
            make_folder(folder)
        reach("step.folder_made")
        return folder

    def keep_files(self, folder: Path) -> Digest | None:
        """Move what a step wrote into the blob store; None if it wrote no file."""
        reach("step.files_written")
        tree = freeze(self.blobs, folder) if any(path.is_file() for path in folder.rglob("*")) else None
        reach("step.files_kept")
        shutil.rmtree(folder, ignore_errors=True)
        return tree

    def folder_of(self, tree: Digest) -> Path:
        """A step's kept files as a folder, to read only."""
        target = materialise(self.blobs, tree, self.folder / "trees" / tree)
        for path in target.rglob("*"):
            if path.is_file():
                path.chmod(0o444)
        return target

    def sweep(self) -> None:
        """Remove what processes that were killed left in `work`."""
        for folder in self.left_over():
            shutil.rmtree(folder, ignore_errors=True)

    def left_over(self) -> list[Path]:
        """Work folders of processes that are no more."""
        folders = sorted((self.folder / "work").glob("*-*"))
        owners = [folder.name.partition("-")[0] for folder in folders]
        return [
            folder
            for folder, owner in zip(folders, owners, strict=True)
            if owner.isdecimal() and not _alive(int(owner))
        ]

    def _write(self, file: Path, data: bytes) -> None:
        """Write a file that garbage collection spares while this process lives, whatever its clock does.

        Another run that has this step's result may forget its progress at any moment.
        """
        presence = self.blobs.presence
        with translate(file), presence.naming():
            write_atomic(file, data)
            with suppress(FileNotFoundError):
                presence.stamp(file)

    def _progress_file(self, key: Digest) -> Path:
        return self.folder / "progress" / f"{key}.json"

    def _all_there(self, manifest: Manifest) -> bool:
        if manifest.used_database and not self._has_database:
            return False
        return all(self.blobs.has(digest) for digest in manifest.blobs)

    def _blobs_in(self, value_json: bytes, tree: Digest | None) -> list[Digest]:
        """Every blob that a result names, directly or as a file of a tree."""
        named = {Digest(found.decode()) for found in _QUOTED_DIGEST.findall(value_json)}
        named |= {tree} if tree else set()
        kept = {digest for digest in named if self.blobs.has(digest)}
        files = {entry.digest for digest in kept for entry in self._files_in(digest)}
        return sorted(kept | files)

    def _files_in(self, digest: Digest) -> list[TreeEntry]:
        """The files of a tree; none for a blob that is something else."""
        if self.blobs.path(digest).stat().st_size > _LARGEST_TREE_BYTES:
            return []
        try:
            return entries(self.blobs, digest)
        except BoucleError:
            return []


def _result_of(value_json: bytes, tree: Digest | None) -> Digest:
    return digest_json([value_json.decode(), tree])


def is_whole(manifest: Manifest, key: str) -> bool:
    """Whether a manifest is what its own digests say, and belongs to this key."""
    return (
        manifest.format == _FORMAT
        and manifest.key == key == key_of(manifest.ingredients)
        and manifest.result == _result_of(bytes(manifest.value), manifest.tree)
    )


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
