"""How a failed step is told: what was wrong, what is kept, and the command that goes on from there."""

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from boucle.kernel.errors import BoucleError, ProjectCodeFailed
from boucle.pipeline.graph import Pipeline
from boucle.pipeline.records import StepOutcome

_PACKAGE = Path(__file__).resolve().parents[1]


def failure(
    pipeline: Pipeline, causes: Mapping[str, BaseException], outcomes: Sequence[StepOutcome], project_root: Path
) -> BoucleError:
    """The error to raise when steps raised `causes`; of the first one's class, if that is one of Boucle's own.

    An exception that passed through a file of the project is the user's to mend: ProjectCodeFailed, with file and line.
    """
    name, cause = next(iter(causes.items()))
    text, hint = _told(cause, project_root)
    others = [
        f"Step {other!r} failed as well: {_sentence(_told(causes[other], project_root)[0])}" for other in [*causes][1:]
    ]
    message = " ".join([f"step {name!r} failed: {_sentence(text)}", *others, *_state(outcomes)])
    known = cause if isinstance(cause, BoucleError) else None
    kind = type(known) if known else ProjectCodeFailed if _user_line(cause, project_root) else BoucleError
    error = kind.__new__(kind)
    if known:
        error.__dict__.update(known.__dict__)
    steps = [{"name": outcome.name, "state": outcome.state} for outcome in outcomes]
    BoucleError.__init__(
        error,
        message,
        hint=_next(pipeline, name, hint),
        details={**(known.details if known else {}), "pipeline": pipeline.name, "step": name, "steps": steps},
    )
    return error


def _told(cause: BaseException, project_root: Path) -> tuple[str, str | None]:
    if isinstance(cause, BoucleError):
        return cause.message, cause.hint
    what = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
    if user := _user_line(cause, project_root):
        return f"{user} raised {what}", f"correct {user}"
    return f"{what} (in {_last_line(cause)})", None


def _user_line(cause: BaseException, project_root: Path) -> str | None:
    """`file:line` of the innermost frame in the project's own code."""
    root = project_root.resolve()
    for frame in reversed(traceback.extract_tb(cause.__traceback__)):
        path = Path(frame.filename)
        own = path.is_relative_to(root) and not path.is_relative_to(_PACKAGE)
        if own and "site-packages" not in path.parts:
            return f"{path.relative_to(root).as_posix()}:{frame.lineno}"
    return None


def _last_line(cause: BaseException) -> str:
    frames = traceback.extract_tb(cause.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "no known line"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _state(outcomes: Sequence[StepOutcome]) -> list[str]:
    kept = [outcome.name for outcome in outcomes if outcome.state in ("done", "cached")]
    skipped = [outcome.name for outcome in outcomes if outcome.state == "skipped"]
    told = [f"Done and kept: {', '.join(kept)}." if kept else "No step was done before it."]
    return [*told, f"Not run: {', '.join(skipped)}."] if skipped else told


def _next(pipeline: Pipeline, name: str, hint: str | None) -> str:
    if hint and pipeline.command in hint:
        return hint
    goes_on = f"`{pipeline.command}` goes on with step {name!r}"
    return f"{hint}; then {goes_on}" if hint else goes_on
