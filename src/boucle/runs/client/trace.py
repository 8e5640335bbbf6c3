"""What makes a run repeatable and takes a while to find out, beside the training: code, changes, environment.

Command, person, process and the commit that is checked out are in the first record of a run already.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from boucle.runs.code_version import uncommitted
from boucle.runs.environment import environment_document
from boucle.runs.process import without_secrets
from boucle.runs.traced import code_tags

if TYPE_CHECKING:
    from boucle.runs.client.run import ActiveRun

_log: Final = logging.getLogger(__name__)


def trace(run: "ActiveRun", folder: Path | None) -> None:
    """Add to a run what can be found out; whatever fails is left out."""
    for part in (_code, _environment):
        try:
            part(run, folder)
        except Exception as error:  # noqa: BLE001 - the edge of a thread beside training, which it must not disturb
            _log.debug("%s of a run is not known: %s", part.__name__, error)


def _code(run: "ActiveRun", folder: Path | None) -> None:
    if folder is None or not (tags := code_tags(folder)):
        return
    run.set_tags(tags)
    changes = uncommitted(folder)
    if changes:
        run.log_text(without_secrets(changes), "boucle/code.diff")


def _environment(run: "ActiveRun", folder: Path | None) -> None:
    del folder
    document, digest = environment_document()
    run.log_text(document, "boucle/environment.json")
    run.set_tags({"boucle.environment": digest})
