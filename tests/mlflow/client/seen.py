"""What a client saw: each call's answer as plain JSON, in which ids, moments and folders are replaced by names."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

from mlflow.entities._mlflow_object import _MlflowObject
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}")
COMMIT = re.compile(r"\b[0-9a-f]{40}\b")
FIRST_MS = 1_500_000_000_000
GIVEN_NAME = re.compile(r"[a-z]+-[a-z]+-\d{1,4}")


class Seen:
    """The calls of one scene in their order. `see("what", f, *args)` notes what `f` answers or raises."""

    def __init__(self) -> None:
        self.calls: dict[str, Any] = {}
        self._masks: dict[str, str] = {}

    def __call__(self, step: str, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What the call answers; None if it raised."""
        assert step not in self.calls, f"two steps are called {step}"
        try:
            value = call(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - every error is an observation
            self.calls[step] = {"raised": type(error).__name__, **_told(error)}
            return None
        self.calls[step] = plain(value)
        return value

    def note(self, step: str, value: Any) -> None:
        """Note a value that the scene has worked out itself."""
        assert step not in self.calls, f"two steps are called {step}"
        self.calls[step] = plain(value)

    def mask(self, text: object, name: str) -> Any:
        """From now on `text` is written as `name`; returns `text`."""
        self._masks[str(text)] = f"<{name}>"
        return text

    def masked(self) -> dict[str, Any]:
        """The calls without anything that differs between two runs of the same server."""
        ids: dict[str, str] = {}
        return {self._text(step, ids): self._mask(value, ids, "") for step, value in self.calls.items()}

    def _mask(self, value: Any, ids: dict[str, str], key: str) -> Any:
        if isinstance(value, dict):
            # Keys are masked too: metrics of a model may be named by ids.
            return {self._text(name, ids): self._mask(one, ids, name) for name, one in value.items()}
        if isinstance(value, list):
            return [self._mask(one, ids, key) for one in value]
        if isinstance(value, str):
            return self._text(value, ids, key)
        if isinstance(value, int) and not isinstance(value, bool) and value > FIRST_MS:
            return "<ms>"
        return value

    def _text(self, text: str, ids: dict[str, str], key: str = "") -> str:
        if text in self._masks and (not text.isdigit() or key in ("", "experiment_id")):
            return self._masks[text]
        if GIVEN_NAME.fullmatch(text):
            return "<given name>"
        for whole, name in sorted(self._masks.items(), key=lambda one: -len(one[0])):
            if whole.isdigit():
                text = re.sub(rf"(?<=:/){whole}(?=/|$)", name, text)
            elif len(whole) > 3:
                text = text.replace(whole, name)
        text = re.sub(r"\b1[5-9]\d{11}\b", "<ms>", text)
        text = COMMIT.sub("<commit>", text)
        return ID.sub(lambda found: ids.setdefault(found[0], f"<id {len(ids) + 1}>"), text)


def plain(value: Any) -> Any:
    """A value as JSON; numbers that JSON lacks as words, entities as objects, what else there is by its type's name."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, PagedList):
        return {"page": [plain(one) for one in value], "more": bool(value.token)}
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(one) for one in (sorted(value) if isinstance(value, set) else value)]
    if isinstance(value, _MlflowObject):
        return {name: plain(one) for name, one in value}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    return f"<{type(value).__name__}>"


def _told(error: Exception) -> dict[str, Any]:
    if isinstance(error, MlflowException):
        return {"error_code": error.error_code, "status": error.get_http_status_code()}
    response = getattr(error, "response", None)
    if response is not None:
        try:
            code = json.loads(response.text).get("error_code")
        except (ValueError, AttributeError):
            code = None
        return {"status": response.status_code, "error_code": code}
    return {"says": str(error)[:200]}
