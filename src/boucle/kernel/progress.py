"""What long work tells a person while it runs. The command line shows it; libraries and tests stay silent."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol


class Task(Protocol):
    """One piece of work with a known or unknown number of steps."""

    def advance(self, n: int = 1, note: str | None = None) -> None:
        """Say that `n` more steps are done (0: only the note changes); `note` replaces what is shown beside them."""


class Progress(Protocol):
    """Where work is announced. Implementations are safe to call from any thread."""

    def task(self, description: str, total: int | None, *, even: bool = False) -> AbstractContextManager[Task]:
        """Announce work of `total` steps (None: unknown); it ends with the `with` block.

        `even`: the steps take about the same time, so that those that are done tell how long the others will take.
        """

    def say(self, message: str) -> None:
        """Tell one line that stays."""


class Silent:
    """Says nothing.

    >>> with Silent().task("fit", total=3) as task:
    ...     task.advance()
    """

    def task(
        self,
        description: str,  # noqa: ARG002 - the protocol's names
        total: int | None,  # noqa: ARG002
        *,
        even: bool = False,  # noqa: ARG002
    ) -> AbstractContextManager[Task]:
        return _SilentTask()

    def say(self, message: str) -> None:
        pass


class _SilentTask:
    def __enter__(self) -> Task:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def advance(self, n: int = 1, note: str | None = None) -> None:
        pass
