"""Reading MLflow's requests: a message from a body or a query, or InvalidInput that names the field."""

import re
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from boucle.identity.http import Request
from boucle.kernel.errors import InvalidInput

T = TypeVar("T", bound=Struct)
_FIELDS_SHOWN: Final = 5
_LONGEST_WITH_NULLS: Final = 1 << 20
_NUMBER_WORD: Final = re.compile(rb"[^\w\"-]?(-?(?:NaN|Infinity))\b")
_HALF_PAIR: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
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
        raise _no_json(body, error) from error
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
    """Once more without fields that are null, which protocol buffers take for absent ones; rare, so it may cost.

    But for a long body, of which each byte may cost 40 bytes of memory and a quarter of a microsecond of all others.
    """
    try:
        if b"null" not in body or len(body) > _LONGEST_WITH_NULLS:
            raise error
        return msgspec.convert(_pruned(msgspec.json.decode(body)), kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        told = str(error)
        hint = None
        if told.startswith("Expected `object`") and " - at " not in told:
            names = ", ".join(msgspec.structs.fields(kind)[at].encode_name for at in range(_few(kind)))
            hint = f"send one JSON object with fields such as {names}"
        raise InvalidInput(told, hint=hint) from error


def _few(kind: type[Struct]) -> int:
    return min(len(kind.__struct_fields__), _FIELDS_SHOWN)


def _no_json(body: bytes, error: Exception) -> InvalidInput:
    """What is wrong with a body that is no JSON; the two mistakes that the parser calls otherwise by their names."""
    where = re.search(r"\(byte (\d+)\)", str(error))
    if where and (found := _NUMBER_WORD.match(body, max(0, int(where[1]) - 1))):
        word = found[1].decode()
        return InvalidInput(f"the body is no JSON: {word} stands without quotes", hint=f'write "{word}", in quotes')
    if found := _HALF_PAIR.search(body):
        half = found[0].decode()
        return InvalidInput(
            f"the body has {half}, half of a surrogate pair, which is no character", hint="send whole characters"
        )
    return InvalidInput(f"the body is no JSON: {error}")


def _pruned(value: object) -> object:
    if isinstance(value, dict):
        return {name: _pruned(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_pruned(inner) for inner in value]
    return value
