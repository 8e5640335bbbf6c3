"""What the commands of `boucle models` share: the store of a home, whose registry it is, and who acts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import DEFAULT, Session, session_of
from boucle.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from boucle.identity.api import Policy, Principal
    from boucle.kernel.store import Store

Name = Annotated[str, typer.Argument(help="Name of the model.")]
Number = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="Number of the version.")]
Comment = Annotated[str, typer.Option(help="Why; goes into the audit log.")]
In = Annotated[
    str | None,
    typer.Option("--in", metavar="PROJECT", help="Whose registry; default: boucle.yaml's project, or `default`."),
]


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry of one project in an open store."""

    session: Session
    store: "Store"
    project_id: str
    is_project: bool
    """Whether there is a boucle.yaml, so that the model of that name is meant where none is named."""

    def model(self, name: str | None) -> str:
        """The model that is meant; InvalidInput if none is named and there is no project."""
        if name is not None:
            return name
        if not self.is_project:
            raise InvalidInput("which model? there is no boucle.yaml here", hint="boucle models list")
        return self.project_id

    def principal(self) -> "Principal":
        """Who acts: whose token stands in BOUCLE_TOKEN, or else whose account runs this."""
        from boucle.identity.accounts import who_acts

        return who_acts(self.store, os.environ.get("BOUCLE_TOKEN"))

    def who_may(self, policy: "Policy") -> "Principal":
        """Who acts; Refused if the role of that token does not allow it, as at the server."""
        from boucle.identity.api import permit

        principal = self.principal()
        permit(policy, principal)
        return principal


@contextmanager
def registry(context: typer.Context, project: str | None) -> Iterator[Registry]:
    """The registry that a command is about; NothingStored if there is no store yet."""
    session = session_of(context)
    name = DEFAULT if project is not None else session.project_name()
    with session.store() as store:
        yield Registry(session, store, project or name, name != DEFAULT)


def asked_version(found: Registry, text: str) -> tuple[str, int]:
    """Model and number of what a person calls a version."""
    from boucle.kernel.errors import NotFound
    from boucle.models import commands
    from boucle.models.api import alias

    model, at, name = text.rpartition("@")
    if at and model:
        move = alias(found.store, found.project_id, model, name)
        if move is None:
            raise NotFound(f"model {model!r} has no alias {name!r}", hint=commands.listed(found.project_id))
        return model, move.version
    model, _, number = text.rpartition("/")
    if not (number.isascii() and number.isdecimal() and 0 < len(number) < 10):
        raise InvalidInput(
            f"{text[:100]!r} names no version; allowed are 3, MODEL/3 and MODEL@champion",
            hint=commands.listed(found.project_id),
        )
    return found.model(model or None), int(number)
