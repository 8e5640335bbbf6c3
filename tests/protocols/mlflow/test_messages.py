"""What comes in as JSON or a query, and what goes out as an error."""

import json
import math

import msgspec
import pytest
from msgspec import Struct

from boucle.identity.http import NoRoute, Request, TooLarge, WrongMethod
from boucle.kernel.errors import BoucleError, Conflict, Damaged, DiskFull, GatesRefused, InvalidInput, NotFound
from boucle.protocols.mlflow.errors import EMPTY, refuse
from boucle.protocols.mlflow.messages import Named, asked, decode


class Point(Struct, frozen=True):
    key: str = ""
    value: float = 0.0
    step: int = 0
    ids: list[str] = msgspec.field(default_factory=list)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"value": "NaN"}', math.nan),
        (b'{"value": "-Infinity"}', -math.inf),
        (b'{"value": "1.5"}', 1.5),
        (b'{"value": 2}', 2.0),
        (b'{"value": null}', 0.0),
    ],
)
def test_numbers_come_in_every_form_of_protocol_buffers(body: bytes, value: float) -> None:
    assert decode(body, Point).value == pytest.approx(value, nan_ok=True)


def test_whole_numbers_come_as_text_and_unknown_fields_are_passed_over() -> None:
    assert decode(b'{"step": "9007199254740993", "unknown": {"deep": [1]}}', Point).step == 9007199254740993


@pytest.mark.parametrize(
    "body",
    [
        b'{"value": true}',
        b'{"value": "many"}',
        b'{"value": 1e400}',
        b'{"value": [1]}',
        b'{"key": 3}',
        b'{"step": 1.5}',
        b'{"ids": "a"}',
        b'{"ids": [1]}',
        b"[]",
        b"3",
        b"null",
        b'"text"',
        b'"\x80"',
        b"{",
        b"\xff",
        b'{"key": "\xff"}',
        b'{"key": "\\ud800"}',
        b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_is_an_error_of_the_client(body: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(body, Point)
    answer = json.loads(refuse(caught.value).body)
    assert refuse(caught.value).status == 400
    assert answer["error_code"] == "INVALID_PARAMETER_VALUE"


def test_a_wrong_type_names_its_field() -> None:
    with pytest.raises(InvalidInput, match=r"Expected `str`, got `int` - at `\$.key`"):
        decode(b'{"key": 3}', Point)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"value": NaN}', 'the body is no JSON: NaN stands without quotes. Next: write "NaN", in quotes'),
        (b'{"value": -Infinity}', '-Infinity stands without quotes. Next: write "-Infinity", in quotes'),
        (b'{"key": "a\\ud800b"}', "the body has \\ud800, half of a surrogate pair"),
        (b'{"key": "a\\udc00"}', "the body has \\udc00, half of a surrogate pair"),
        (b'{"key": "\\ud83d\\ude00\\uDFFF"}', "the body has \\uDFFF, half of a surrogate pair"),
        (b"[]", "got `array`. Next: send one JSON object with fields such as key, "),
    ],
)
def test_what_is_wrong_is_said(body: bytes, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(body, Point)
    assert said in json.loads(refuse(caught.value).body)["message"]


def test_a_query_is_a_message_too() -> None:
    request = Request("GET", "/", query="key=a&value=NaN&step=3&ids=x&ids=y")
    found = asked(request, Point)
    assert (found.key, found.step, found.ids) == ("a", 3, ["x", "y"])
    with pytest.raises(InvalidInput, match="step"):
        asked(Request("GET", "/", query="step=x"), Point)


def test_a_run_is_named_by_either_field() -> None:
    assert decode(b'{"run_uuid": "a"}', Named).run == "a"
    with pytest.raises(InvalidInput, match="run_id"):
        _ = decode(b"", Named).run


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NoRoute("no route"), 404, "ENDPOINT_NOT_FOUND"),
        (WrongMethod("PUT", "/x", ["GET"]), 405, "ENDPOINT_NOT_FOUND"),
        (TooLarge("too large"), 413, "INVALID_PARAMETER_VALUE"),
        (NotFound("no run"), 404, "RESOURCE_DOES_NOT_EXIST"),
        (InvalidInput("no"), 400, "INVALID_PARAMETER_VALUE"),
        (Conflict("it exists"), 400, "RESOURCE_ALREADY_EXISTS"),
        (GatesRefused("a gate says no"), 403, "PERMISSION_DENIED"),
        (DiskFull("full"), 503, "TEMPORARILY_UNAVAILABLE"),
        (Damaged("damaged"), 500, "INTERNAL_ERROR"),
        (BoucleError("a mistake of ours"), 500, "INTERNAL_ERROR"),
    ],
)
def test_every_error_has_its_status_and_code(error: BoucleError, status: int, code: str) -> None:
    answer = refuse(error)
    assert (answer.status, json.loads(answer.body)["error_code"]) == (status, code)


def test_a_hint_stands_behind_the_message() -> None:
    assert json.loads(refuse(InvalidInput("wrong", hint="do this")).body)["message"] == "wrong. Next: do this"
    assert EMPTY.body == b"{}"
