"""The nouns of a pipeline's execution: what became of each step, and the manifest that keeps a step's result."""

from typing import Literal, TypeVar

import msgspec
from msgspec import Struct, field

from boucle.kernel.digests import Digest
from boucle.kernel.errors import NotFound

V = TypeVar("V")

StepState = Literal["cached", "done", "failed", "skipped"]
"""`cached`: its kept result was taken; `done`: it ran; `failed`: it raised; `skipped`: not run, after a failure."""


class StepOutcome(Struct, frozen=True, kw_only=True):
    """What became of one step."""

    name: str
    state: StepState
    key: Digest | None = None
    """Names the step's result in the cache; None where a failure came before it was known."""
    seconds: float = 0.0
    """How long the step ran; for a cached one, how long it took when it did run."""
    value_json: str | None = None
    """What it returned, as canonical JSON; None where it returned nothing yet."""
    tree: Digest | None = None
    """The files that it kept, in the blob store; None where there are none."""


class PipelineResult(Struct, frozen=True, kw_only=True):
    """A run in which every step succeeded."""

    pipeline: str
    outcomes: list[StepOutcome]
    """In the order in which the pipeline names its steps."""

    @property
    def cached(self) -> bool:
        """Whether nothing had to run."""
        return all(outcome.state == "cached" for outcome in self.outcomes)

    def outcome(self, name: str) -> StepOutcome:
        """What became of the step with this name."""
        for outcome in self.outcomes:
            if outcome.name == name:
                return outcome
        known = ", ".join(outcome.name for outcome in self.outcomes)
        raise NotFound(f"pipeline {self.pipeline!r} has no step {name!r}; its steps are {known}")

    def value(self, name: str, kind: type[V]) -> V:
        """What the step with this name returned."""
        return msgspec.json.decode(self.outcome(name).value_json or "null", type=kind)


class Ingredients(Struct, frozen=True, kw_only=True):
    """Everything that a step's result depends on; its digest is the step's key."""

    step: str
    code: Digest
    """Names and bytes of all first-party files that the step's function imports, transitively."""
    params: Digest
    """Of the step's params, the function's name, and the values that it captures."""
    environment: Digest
    sources: dict[str, Digest]
    """Files and folders that the step reads, by path below the project."""
    needs: dict[str, Digest] = field(default_factory=dict)
    """Digests of the results of the steps that it needs."""


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step's kept result: the file `cache/<key>.json` in the store's home."""

    format: int
    """1."""
    key: Digest
    step: str
    ingredients: Ingredients
    value: msgspec.Raw
    tree: Digest | None
    blobs: list[Digest]
    """Blobs that the value names; the result counts as kept only while all of them are there."""
    used_database: bool
    """Whether the step opened the store; the result counts as kept only while there is a database."""
    result: Digest
    """Digest of value and tree: what the steps that need this one see."""
    seconds: float
