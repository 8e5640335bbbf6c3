"""Boucle closes the MLOps loop: from a table to a governed, monitored model that is retrained when it decays.

    import boucle

    with boucle.open_context("examples/flights") as project:
        report = boucle.run_project(project, boucle.Silent())

Names are loaded when they are first used (PEP 562), so that the command line and the serving worker stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boucle.data.csv_file import read_csv
    from boucle.data.records import CsvFormat
    from boucle.kernel.errors import BoucleError
    from boucle.kernel.progress import Silent
    from boucle.packaging.from_model import bundle
    from boucle.pipeline.api import Pipeline, Step, StepContext, run_pipeline
    from boucle.project.context import Context, open_context
    from boucle.project.lifecycle import check_project, run_project
    from boucle.project.yaml_file import read_project
    from boucle.protocols.native.client import Registry
    from boucle.protocols.native.send_labels import send_labels
    from boucle.runs.client.run import ActiveRun
    from boucle.runs.client.start import start_run
    from boucle.runs.client.tracked import tracked

__version__ = "0.1.0"

__all__ = [
    "ActiveRun",
    "BoucleError",
    "Context",
    "CsvFormat",
    "Pipeline",
    "Registry",
    "Silent",
    "Step",
    "StepContext",
    "__version__",
    "bundle",
    "check_project",
    "open_context",
    "read_csv",
    "read_project",
    "run_pipeline",
    "run_project",
    "send_labels",
    "start_run",
    "tracked",
]

_HOMES = {
    "ActiveRun": "boucle.runs.client.run",
    "BoucleError": "boucle.kernel.errors",
    "Context": "boucle.project.context",
    "CsvFormat": "boucle.data.records",
    "Pipeline": "boucle.pipeline.graph",
    "Registry": "boucle.protocols.native.client",
    "Silent": "boucle.kernel.progress",
    "Step": "boucle.pipeline.step",
    "StepContext": "boucle.pipeline.step",
    "bundle": "boucle.packaging.from_model",
    "check_project": "boucle.project.lifecycle",
    "open_context": "boucle.project.context",
    "read_csv": "boucle.data.csv_file",
    "read_project": "boucle.project.yaml_file",
    "run_pipeline": "boucle.pipeline.standalone",
    "run_project": "boucle.project.lifecycle",
    "send_labels": "boucle.protocols.native.send_labels",
    "start_run": "boucle.runs.client.start",
    "tracked": "boucle.runs.client.tracked",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'boucle' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
