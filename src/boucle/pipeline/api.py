"""What other rooms may import from the pipeline."""

from boucle.pipeline.care import broken_manifests, collectable
from boucle.pipeline.execute import run
from boucle.pipeline.fingerprint import environment_digest
from boucle.pipeline.graph import Pipeline
from boucle.pipeline.records import PipelineResult, StepOutcome
from boucle.pipeline.standalone import run_pipeline
from boucle.pipeline.step import Step, StepContext

__all__ = [
    "Pipeline",
    "PipelineResult",
    "Step",
    "StepContext",
    "StepOutcome",
    "broken_manifests",
    "collectable",
    "environment_digest",
    "run",
    "run_pipeline",
]
