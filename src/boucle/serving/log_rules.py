"""What is kept of an endpoint's log, beside the endpoint, as its own project said it last.

Whoever serves an endpoint or compacts its log may be at work for another project, whose rules are for its own.

    <home>/serving/<endpoint>/log.json          the `serving.log` section of its project's boucle.yaml
"""

from pathlib import Path

from boucle.kernel.paths import translate, write_atomic
from boucle.serving.records import LogSection
from boucle.serving.traffic import endpoint_folder, read_sealed, sealed


def rules_of(home: Path, endpoint: str) -> LogSection | None:
    """What its project said last; None if it never did. Damaged if that cannot be read."""
    return read_sealed(_file(home, endpoint), LogSection, hint="run `boucle compact` in the folder of its project")


def keep_rules(home: Path, endpoint: str, section: LogSection) -> None:
    """Say what is kept of an endpoint's log from now on. What is said already is not written again."""
    file, data = _file(home, endpoint), sealed(section)
    with translate(file):
        if file.is_file() and file.read_bytes() == data:
            return
    write_atomic(file, data)


def _file(home: Path, endpoint: str) -> Path:
    return endpoint_folder(home, endpoint) / "log.json"
