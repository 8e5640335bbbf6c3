"""What makes a run repeatable, as tags: code, command, machine, environment."""

import functools
import sys
from pathlib import Path

from boucle.runs.checked_out import as_mlflow_calls_it
from boucle.runs.code_version import detect
from boucle.runs.environment import environment_document
from boucle.runs.process import process_tags


@functools.cache
def origin_tags(folder: Path) -> dict[str, str]:
    """Tags of every run that this process makes in a project's folder: its code, command, machine and environment."""
    tags = code_tags(folder) | process_tags(folder, sys.argv)
    return {**tags, "boucle.environment": environment_document()[1]}


def code_tags(folder: Path) -> dict[str, str]:
    """Which version of the code a folder holds, also in MLflow's words; empty if nobody knows."""
    return as_mlflow_calls_it(detect(folder))
