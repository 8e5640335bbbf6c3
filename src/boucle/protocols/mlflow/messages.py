"""Reading MLflow's requests: a message from a body or a query, or InvalidInput that names the field."""

from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from boucle.identity.http import Request
from boucle.kernel.errors import InvalidInput

T = TypeVar("T", bound=Struct)
_decoders: Final[dict[type[Struct], msgspec.json.Decoder[Struct]]] = {}


class Named(Struct, frozen=True, kw_only=True):
    """What names a run: clients send `run_id`, older ones `run_uuid`, most both."""

    run_id: str = ""
    run_uuid: str = ""

    @property
    def run(self) -> str:
        """The run's id; InvalidInput if there is none."""
        found = self.run_id or self.run_uuid
        if not found:
            raise missing("run_id")
        return found


class KeyValue(Struct, frozen=True):
    """A tag or param. MLflow takes one without a value for one with an empty value."""

    key: str = ""
    value: str = ""


def decode(body: bytes, kind: type[T]) -> T:
    """A message from a body of JSON. As protocol buffers have it, numbers may also come as text, `"NaN"` among them, a
    null is an absent field, and unknown fields are passed over.

    >>> decode(b'{"key": "depth", "value": "3", "else": 1}', KeyValue)
    KeyValue(key='depth', value='3')
    >>> decode(b'{"key": 3}', KeyValue)
    Traceback (most recent call last):
    ...
    boucle.kernel.errors.InvalidInput: Expected `str`, got `int` - at `$.key`
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind, strict=False)
    try:
        return decoder.decode(body or b"{}")  # type: ignore[return-value]
    except msgspec.ValidationError as error:
        return _without_nulls(body, kind, error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body is no JSON: {error}") from error
    except RecursionError as error:
        raise InvalidInput("the body is nested too deeply") from error


def asked(request: Request, kind: type[T]) -> T:
    """A message from the query of a GET, or the body of any other request.

    A parameter that the message has as a list may come several times.
    """
    if request.method not in ("GET", "HEAD") or not request.query:
        return decode(request.body, kind)
    lists = {field.name for field in msgspec.structs.fields(kind) if getattr(field.type, "__origin__", None) is list}
    values = {name: given if name in lists else given[-1] for name, given in request.query.items()}
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from error


def missing(field: str) -> InvalidInput:
    """The error for a field that must be there."""
    return InvalidInput(f"Missing value for required parameter '{field}'.")


def _without_nulls(body: bytes, kind: type[T], error: msgspec.ValidationError) -> T:
    """Once more without fields that are null, which protocol buffers take for absent ones; rare, so it may cost."""
    try:
        return msgspec.convert(_pruned(msgspec.json.decode(body)), kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidInput(str(error)) from error


def _pruned(value: object) -> object:
    if isinstance(value, dict):
        return {name: _pruned(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_pruned(inner) for inner in value]
    return value
