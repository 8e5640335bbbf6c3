"""The questions of a needs assessment, each with a proposed answer, in the order in which one opens the next."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct, inspect

from boucle.kernel.errors import InvalidInput, NotFound
from boucle.project.needs import Needs, needs_document
from boucle.project.problems import Problem, did_you_mean, listed
from boucle.project.shape import Plain, problems_of


class Question(Struct, frozen=True, kw_only=True):
    """One thing to know."""

    key: str
    """The key of the answer in needs.yaml."""
    chapter: str
    ask: str
    explain: str
    """Why it is asked, and what follows from it."""


def _questions() -> dict[str, Question]:
    rows: list[tuple[str, str, str, str]] = [
        (
            "target", "The prediction", "Which column is predicted?",
            "The answer that past rows have and new ones lack.",
        ),
        (
            "task", "The prediction", "What kind of answer is it: binary, multiclass or regression?",
            "binary: one of two; multiclass: one of several; regression: a number. It decides model and metrics.",
        ),
        (
            "asked_when", "The prediction", "At which moment is the model asked, in words?",
            "Whatever becomes known after that moment must not be a feature. Kept for people.",
        ),
        (
            "time", "The prediction", "Which column holds that moment (none: no column)?",
            "With it, newer rows judge what older rows taught, and days can be watched. A timestamp in every row.",
        ),
        (
            "key", "The prediction", "Which column names a row (none: no column)?",
            "With it, a label that comes later finds its prediction. Every row needs a value of its own.",
        ),
        (
            "known_later", "The prediction", "Which columns are not known yet at that moment?",
            "Column names with commas between them. They are kept out of the model, also copies of them.",
        ),
        (
            "ahead_days", "The prediction", "How many days before the outcome must the answer be there?",
            "Labels cannot come earlier than that. 0: at once.",
        ),
        (
            "errors", "What is needed", "Which error costs more?",
            "It chooses the metric that the search maximises and the gate enforces.",
        ),
        (
            "metric", "What is needed", "How is quality measured?",
            "The metric of search, gate and loop.",
        ),
        (
            "quality", "What is needed", "What must it reach?",
            "A version that does not reach it on held-out rows is refused. The proposal lies two thirds of the"
            " way from an answer that looks at no feature to what a small model reached just now.",
        ),
        (
            "latency_ms", "What is needed", "Within how many milliseconds must 95 of 100 answers be there?",
            "An objective for the endpoint; `boucle status` measures it. none: no objective.",
        ),
        (
            "availability", "What is needed", "Which share of requests must be answered (0.999 is 999 of 1,000)?",
            "An objective for the endpoint. none: no objective.",
        ),
        (
            "lead_time_days", "What is needed", "How many days may a new label wait for a model that knows it?",
            "An objective for the loop; it needs a time column to be measured. none: no objective.",
        ),
        (
            "data_from", "Where things come from", "Who delivers the rows, in words?",
            "Whom to call when a check fails. Kept for people.",
        ),
        (
            "labels_delay_days", "Where things come from", "How many days after the event do labels arrive?",
            "The loop expects no label earlier, and judges quality on the days that have theirs.",
        ),
        (
            "systems", "Where things come from", "Which systems have to be connected (commas between them)?",
            "Kept for people, and shown by `boucle status`.",
        ),
        (
            "reviews", "Who decides", "How many persons must approve a version?",
            "Above 0, none takes charge until so many reviewers, not its authors, `boucle models approve` it.",
        ),
        (
            "approvers", "Who decides", "Who approves (commas between them)?",
            "Kept for people, and shown by `boucle status`.",
        ),
        (
            "keep_days", "Who decides", "After how many days are served rows removed (none: never)?",
            "Decisions, versions and the audit log always stay.",
        ),
    ]  # fmt: skip
    return {key: Question(key=key, chapter=chapter, ask=ask, explain=explain) for key, chapter, ask, explain in rows}


QUESTIONS: Mapping[str, Question] = _questions()


class Asked(Struct, frozen=True):
    """A question about this table: what is proposed, and what an answer may be."""

    key: str
    """Of one of `QUESTIONS`."""
    proposed: Plain
    """None: nothing, or that it can't be guessed."""
    why: str = ""
    """Where the proposal comes from."""
    likely: str | None = None
    """What a person is offered where no proposal is sure enough to be taken unasked."""
    allowed: list[str] | None = None
    """The only words allowed."""
    optional: bool = False
    """Whether `none` is an answer."""
    refuse: Callable[[Plain], str | None] = lambda _: None
    """What is wrong with an answer of the right shape; None if nothing is."""


Ask = Callable[[Asked], Plain]
"""Gives the answer to a question: a person's, a file's, or the one proposed."""


def wrong(asked: Asked, answer: Plain) -> str | None:
    """What keeps an answer from being one, in words; None if nothing does."""
    if answer is None:
        return None if asked.optional else "an answer is needed"
    key = asked.key
    found = [one for one in problems_of({key: answer}, inspect.type_info(Needs)) if one.path[:1] == (key,)]
    if found:
        return found[0].message
    if asked.allowed is not None:
        for word in answer if isinstance(answer, list) else [answer]:
            if word not in asked.allowed:
                return f"`{word}` is not allowed{did_you_mean(str(word), asked.allowed)}; write {_some(asked.allowed)}"
    return asked.refuse(answer)


def _some(words: Sequence[str]) -> str:
    return "one of " + listed(words[:12]) + (f" and {len(words) - 12} more" if len(words) > 12 else "")


class Replayed:
    """Answers that were given before; what they do not say is answered as proposed."""

    def __init__(
        self,
        answers: Mapping[str, Plain],
        refuse: Callable[[list[Problem]], Exception],
        command: str = "boucle init --yes",
    ) -> None:
        self.answers = answers
        self._command = command
        self._refuse = refuse

    def __call__(self, asked: Asked) -> Plain:
        key = asked.key
        if key not in self.answers:
            if asked.proposed is None and not asked.optional:
                option = f"{self._command} --target {shlex.quote(asked.likely or 'COLUMN')}"
                raise InvalidInput(
                    f"the {key} can't be guessed: {asked.why}",
                    hint=option if key == "target" else f"say `{key}: ...` in a file, then: boucle init --answers FILE",
                    details={"allowed": asked.allowed or []},
                )
            return asked.proposed
        answer = self.answers[key]
        message = wrong(asked, answer)
        if message is not None:
            raise self._refuse([Problem((key,), message)])
        return answer


def read_answers(path: Path, command: str) -> Replayed:
    """The answers in a file such as needs.yaml; InvalidInput with file and line for unknown keys and wrong values."""
    again = f"edit {path}, then give the same command again"
    if not path.is_file():
        raise NotFound(
            f"there is no file {path}", hint="answer from one that `boucle init` wrote: --answers needs.yaml"
        )
    try:
        document, said = needs_document(path)
    except InvalidInput as error:
        raise InvalidInput(error.message, hint=again, details=error.details) from error

    def refuse(problems: list[Problem]) -> InvalidInput:
        error = document.error(problems)
        return InvalidInput(error.message, hint=again, details=error.details)

    return Replayed(said, refuse, command)
