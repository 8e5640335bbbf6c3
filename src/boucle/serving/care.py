"""What garbage collection and fsck must know of served endpoints."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from boucle.kernel.care.records import Candidate, candidate
from boucle.kernel.errors import BoucleError
from boucle.serving import log_parts
from boucle.serving.log_parts import day_of, parts
from boucle.serving.prediction_log import LogDamage, read_frames, spent_segments
from boucle.serving.records import PredictionFrame
from boucle.serving.rollout import deployments
from boucle.serving.traffic import log_folder, read_traffic, serving_root, traffic_file


def collectable(
    home: Path,
    is_own: Callable[[str], bool],
    is_spent: Callable[[PredictionFrame], bool],
    grace_s: float,
    kept_since: datetime | None = None,
) -> Iterator[Candidate | None]:
    """Written-out bundles that no traffic file names, and of the endpoints of the project that asks, which `is_own`
    tells, log segments in which every frame is spent, and compacted parts of days before `kept_since`.

    Damaged if a traffic file cannot be read: then it is not known what the endpoint needs.
    """
    root = serving_root(home)
    named = {
        one.path
        for endpoint in endpoints(home)
        if _deployed(home, endpoint)
        for one in deployments(read_traffic(home, endpoint))
    }
    for path in sorted((root / "bundles").glob("[!.]*")):
        bundle = path.with_name(path.name.partition(".")[0])  # a signature's name begins with that of its bundle
        if bundle.relative_to(root).as_posix() not in named:
            yield candidate("bundle folder of the server", path, grace_s)
    for endpoint in filter(is_own, endpoints(home)):
        for segment in spent_segments(log_folder(home, endpoint), is_spent):
            yield candidate("log segment", segment, grace_s)
        for part in parts(log_folder(home, endpoint)):
            if kept_since is not None and day_of(part) < kept_since.date().isoformat():
                yield candidate("part of the log", part, grace_s)


def broken_traffic(home: Path) -> Iterator[tuple[Path, str]]:
    """Traffic files that cannot be read, each with the reason."""
    for endpoint in endpoints(home):
        if _deployed(home, endpoint):
            try:
                read_traffic(home, endpoint)
            except BoucleError as error:
                yield traffic_file(home, endpoint), error.message


def damaged_log(home: Path) -> Iterator[tuple[str, LogDamage]]:
    """Bytes of prediction logs that hold no frame, by endpoint."""
    for endpoint in endpoints(home):
        found: list[LogDamage] = []
        for _ in read_frames(log_folder(home, endpoint), on_damage=found.append):
            pass
        yield from ((endpoint, one) for one in found)


def broken_parts(home: Path) -> Iterator[Path]:
    """Compacted parts of prediction logs whose bytes are not what was written."""
    for endpoint in endpoints(home):
        yield from log_parts.broken_parts(log_folder(home, endpoint))


def endpoints(home: Path) -> list[str]:
    """Every endpoint that was ever deployed or served."""
    root = serving_root(home)
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return [one.name for one in folders if one.is_dir() and one.name != "bundles" and not one.name.startswith(".")]


def _deployed(home: Path, endpoint: str) -> bool:
    return traffic_file(home, endpoint).exists()
