"""What makes a run repeatable, found out beside the training: code, changes, environment, command, person, machine."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from boucle.runs.code_version import uncommitted
from boucle.runs.environment import environment_document
from boucle.runs.traced import code_tags, process_tags, without_secrets

if TYPE_CHECKING:
    from boucle.runs.client.run import ActiveRun

_log: Final = logging.getLogger(__name__)


def trace(run: "ActiveRun", folder: Path, argv: Sequence[str]) -> None:
    """Add to a run what can be found out; whatever fails is left out."""
    for part in (_code, _environment, _process):
        try:
            part(run, folder, argv)
        except Exception as error:  # noqa: BLE001 - the edge of a thread beside training, which it must not disturb
            _log.debug("%s of a run is not known: %s", part.__name__, error)


def _code(run: "ActiveRun", folder: Path, argv: Sequence[str]) -> None:
    del argv
    tags = code_tags(folder)
    if not tags:
        return
    run.set_tags(tags)
    changes = uncommitted(folder)
    if changes:
        run.log_text(without_secrets(changes), "boucle/code.diff")


def _environment(run: "ActiveRun", folder: Path, argv: Sequence[str]) -> None:
    del folder, argv
    document, digest = environment_document()
    run.log_text(document, "boucle/environment.json")
    run.set_tags({"boucle.environment": digest})


def _process(run: "ActiveRun", folder: Path, argv: Sequence[str]) -> None:
    run.set_tags(process_tags(folder, argv))
