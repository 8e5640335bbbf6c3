"""Named points of the commit paths: where a process may die, so that a test can make it die exactly there.

Every step that makes something durable (a rename, a removal, a sync, a commit) has a named point before and after it.
A name is `<path>.<state>`: the commit path, and what is true when the point is reached, as in `blob.synced`.
"""

from collections.abc import Callable

_listener: Callable[[str], None] | None = None


def reach(name: str) -> None:
    """Say that the point `name` is reached. Does nothing unless somebody listens, which only tests do.

    Give the name as a literal: a test reads the names from the source.
    """
    if _listener is not None:
        _listener(name)


def listen(listener: Callable[[str], None] | None) -> None:
    """Have `listener` called with the name of every point this process reaches; None ends that."""
    global _listener
    _listener = listener
