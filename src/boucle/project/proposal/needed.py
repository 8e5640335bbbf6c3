"""The questions about what is needed of a model, its endpoint and its loop."""

from msgspec.structs import replace

from boucle.project.limits import A_CENTURY
from boucle.project.needs import ERROR_WORDS, ERRORS, Needs
from boucle.project.proposal.interview import Ask, Asked
from boucle.project.proposal.quick_look import ASKED, QuickLook
from boucle.project.shape import Plain


def ask_quality(needs: Needs, look: QuickLook, ask: Ask) -> Needs:
    """How good the model must be, with what the quick look reached beside it."""
    ahead = _number(ask(Asked("ahead_days", 0.0, refuse=_not_negative))) or 0.0
    kinds = ERRORS[look.task]
    words = "; ".join(f"{kind}: {_error(kind, look.classes)}" for kind in kinds)
    errors = str(ask(Asked("errors", "same", allowed=list(kinds), why=words)))
    metric = str(ask(Asked("metric", kinds[errors], allowed=list(ASKED[look.task]), why=f"errors: {errors}")))
    measured = look.metrics[metric]

    def refuse(answer: Plain) -> str | None:
        value = _number(answer)
        if value is None:
            return None
        if metric not in ("rmse", "mae", "r2") and not 0 <= value <= 1:
            return f"`{value:g}` is not possible: {metric} lies between 0 and 1"
        if metric in ("rmse", "mae") and value <= 0:
            return f"`{value:g}` is not possible: {metric} is above 0"
        return None

    why = f"{metric} is {measured.model:.4g} by a small model, {measured.trivial:.4g} without looking at a feature"
    quality = _number(ask(Asked("quality", measured.target, optional=True, refuse=refuse, why=why)))
    return replace(needs, ahead_days=ahead, errors=errors, metric=metric, quality=quality)


def ask_rest(needs: Needs, ask: Ask) -> Needs:
    """What the endpoint and the loop must be good for, where things come from, and who decides."""

    def positive(answer: Plain) -> str | None:
        value = _number(answer)
        return f"`{value:g}` is not possible: above 0 is" if value is not None and value <= 0 else None

    def kept(answer: Plain) -> str | None:
        return positive(answer) or _century(answer)

    def share(answer: Plain) -> str | None:
        value = _number(answer)
        return None if value is None or 0 <= value <= 1 else f"`{value:g}` is not possible: a share lies from 0 to 1"

    def after_outcome(answer: Plain) -> str | None:
        value = _number(answer) or 0
        if value < needs.ahead_days:
            return f"labels can't come before the outcome, {needs.ahead_days:g} days after the prediction"
        return _not_negative(answer) or _century(answer)

    lead = 14.0 if needs.time and needs.key else None
    lacking = "a time column" if not needs.time else "a key"
    why = "" if lead else f"without {lacking} nothing can measure it"
    return replace(
        needs,
        latency_ms=_number(ask(Asked("latency_ms", 100.0, optional=True, refuse=positive))),
        availability=_number(ask(Asked("availability", 0.999, optional=True, refuse=share))),
        lead_time_days=_number(ask(Asked("lead_time_days", lead, optional=True, refuse=positive, why=why))),
        data_from=text_of(ask(Asked("data_from", needs.source))),
        labels_delay_days=_number(ask(Asked("labels_delay_days", needs.ahead_days, refuse=after_outcome))) or 0.0,
        systems=texts_of(ask(Asked("systems", []))),
        reviews=_whole(ask(Asked("reviews", 0, refuse=_not_negative))) or 0,
        approvers=texts_of(ask(Asked("approvers", []))),
        keep_days=_whole(ask(Asked("keep_days", None, optional=True, refuse=kept))),
    )


def _error(kind: str, classes: list[str]) -> str:
    """An error in words that name the two classes, if there are two."""
    if len(classes) != 2 or kind == "same":
        return ERROR_WORDS[kind]
    given, true = classes if kind == "miss" else reversed(classes)
    return f"to answer `{given}` where it is `{true}`"


def _not_negative(answer: Plain) -> str | None:
    value = _number(answer)
    return f"`{value:g}` is not possible: 0 or more is" if value is not None and value < 0 else None


def _century(answer: Plain) -> str | None:
    value = _number(answer)
    possible = value is None or value <= A_CENTURY
    return None if possible else f"`{value:g}` is not possible: at most {A_CENTURY} days are"


def _number(answer: Plain) -> float | None:
    return float(answer) if isinstance(answer, int | float) else None


def _whole(answer: Plain) -> int | None:
    return int(answer) if isinstance(answer, int | float) else None


def text_of(answer: Plain) -> str:
    """An answer in words; empty if there is none."""
    return "" if answer is None else str(answer)


def texts_of(answer: Plain) -> list[str]:
    """An answer that is a list."""
    return [str(one) for one in answer] if isinstance(answer, list) else []
