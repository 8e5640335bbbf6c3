"""The nouns of the registry."""

from datetime import datetime
from typing import Final, Literal

from msgspec import Struct, field

from boucle.kernel.digests import Digest
from boucle.kernel.errors import NotFound
from boucle.models import commands

Stage = Literal["None", "Staging", "Production", "Archived"]
STAGES: Final[tuple[Stage, ...]] = ("None", "Staging", "Production", "Archived")
"""Where a version stands; several versions may stand in one."""
CHAMPION: Final = "champion"
"""The alias of the version in charge."""
PROMPT: Final = "mlflow.prompt.is_prompt"
"""The tag of what is no model but a prompt: its text is in the tags, and it has no files."""


class RegisteredModel(Struct, frozen=True, kw_only=True):
    """A name under which versions are counted."""

    project_id: str
    name: str
    description: str | None = None
    created_ms: int
    updated_ms: int
    last_number: int = 0
    """The highest number that was ever given."""


class ModelVersion(Struct, frozen=True, kw_only=True):
    """An immutable, numbered name for one bundle digest. The same, whether a pipeline or a client registered it."""

    project_id: str
    model: str
    number: int
    bundle_digest: Digest
    """The tree of files that was frozen when the version was made."""
    dataset_digest: Digest | None
    evaluation_digest: Digest | None
    """Key of the JSON-encoded `Evaluation` in the blob store; None if Boucle measured nothing."""
    run_id: str
    """Empty if no run made it."""
    author: str
    """Principal who made it; the loop is `service:loop`."""
    created_at: datetime
    note: str
    """Why it was made: `first training`, `retrained: decay of auc_roc ...`, `drill: shuffled labels`."""
    source: str | None = None
    """The URI that a client registered; None for the pipeline's own bundles."""
    description: str | None = None
    stage: Stage = "None"
    run_link: str | None = None
    model_id: str | None = None
    """The logged model that it was made from."""
    updated_ms: int = 0

    @property
    def learned_from(self) -> Digest:
        """The dataset version that it was trained on; NotFound if a client registered it."""
        if self.dataset_digest is None:
            raise self._foreign("names no dataset version")
        return self.dataset_digest

    @property
    def measured_by(self) -> Digest:
        """Boucle's evaluation of it; NotFound if a client registered it."""
        if self.evaluation_digest is None:
            raise self._foreign("has no evaluation of Boucle's own")
        return self.evaluation_digest

    def _foreign(self, lack: str) -> NotFound:
        return NotFound(
            f"version {self.number} of {self.model} was registered by a client and {lack}",
            hint=commands.about("show", self.project_id, self.model, self.number),
        )


class AliasMove(Struct, frozen=True, kw_only=True):
    """One entry in an alias's history."""

    project_id: str
    model: str
    alias: str
    number: int | None
    """Version the alias points at from then on; None if it was taken away."""
    permit_id: str | None
    """None where no policy protects the alias."""
    actor: str
    reason: str
    moved_at: datetime
    """When it really happened."""
    effective_at: datetime
    """From which event time on it answers: in a replay the replayed moment, live the same as `moved_at`."""

    @property
    def version(self) -> int:
        """The version that it points at; NotFound if it was taken away."""
        if self.number is None:
            raise NotFound(
                f"the alias {self.alias!r} of {self.model} was taken away",
                hint=commands.about("history", self.project_id, self.model),
            )
        return self.number


class ModelFacts(Struct, frozen=True, kw_only=True):
    """A registered model with what stands around it."""

    model: RegisteredModel
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    latest: list["VersionFacts"] = field(default_factory=list)
    """The newest version of each stage."""


class VersionFacts(Struct, frozen=True, kw_only=True):
    """A version with what stands around it."""

    version: ModelVersion
    tags: dict[str, str] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)
