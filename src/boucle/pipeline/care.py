"""What garbage collection and fsck must know of the cache."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from boucle.kernel.blobs import BlobStore
from boucle.kernel.care.records import Candidate, candidate
from boucle.kernel.digests import short
from boucle.kernel.errors import InvalidInput
from boucle.pipeline.cache import Cache, is_whole
from boucle.pipeline.records import Manifest


def collectable(home: Path, unused_s: float) -> Iterator[Candidate | None]:
    """Results, progress and folders that no run has used for this long, and work folders of killed processes."""
    folder = home / "cache"
    for file in sorted(folder.glob("[!.]*.json")):
        yield candidate("step result", file, unused_s)
    for file in sorted(folder.glob("progress/[!.]*.json")):
        yield candidate("step progress", file, unused_s)
    for tree in sorted(folder.glob("trees/[!.]*")):
        yield candidate("step files", tree, unused_s)
    for bundle in sorted(folder.glob("bundles/[!.]*")):
        yield candidate("bundle folder", bundle, unused_s)
    for left in Cache(home).left_over():
        yield candidate("step files", left, 0.0)


def broken_manifests(home: Path) -> Iterator[tuple[Path, str]]:
    """Manifests that no run can read, each with the reason. They count as missing, so they only take room."""
    blobs = BlobStore(home / "blobs")
    for file in sorted((home / "cache").glob("[!.]*.json")):
        try:
            manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
        except FileNotFoundError:
            continue
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, InvalidInput) as error:
            yield file, str(error)
        else:
            if not is_whole(manifest, file.stem):
                yield file, "it is not what its digests say"
            elif lost := [digest for digest in manifest.blobs if not blobs.has(digest)]:
                yield file, f"it names blob {short(lost[0])}, which is not there"
