"""Sends recorded requests again and compares what is answered with what was recorded.

Where the record has `{id3}`, the first answer that has something there says what it is; later requests use it.
"""

import http.client
import json
import re
from typing import Any
from urllib.parse import urlsplit

VERSIONS = "mlflow.modelVersions"  # a tag that MLflow's server sets too, not only its client
NAME = re.compile(r"\{id\d+\}")


def replayed(url: str, exchanges: list[dict[str, Any]]) -> list[str]:
    """What differs, a line each: another status, or an answer that lacks what was recorded."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    bound: dict[str, str] = {}
    odd: list[str] = []
    try:
        for number, one in enumerate(exchanges):
            status, answer = _sent(connection, one, bound)
            what = f"{number} {one['method']} {one['path']}"
            if status != one["status"]:
                odd.append(f"{what}: status {status} instead of {one['status']}: {str(answer)[:200]}")
            elif one["answer"] is not None:
                odd += [f"{what}: {line}" for line in _missing("", one["answer"], answer, bound)]
    finally:
        connection.close()
    return odd


def _sent(connection: http.client.HTTPConnection, one: dict[str, Any], bound: dict[str, str]) -> tuple[int, Any]:
    def filled(text: str) -> str:
        return NAME.sub(lambda found: bound.get(found[0], found[0]), text)

    path = filled(one["path"]) + (f"?{filled(one['query'])}" if one["query"] else "")
    body = filled(json.dumps(one["body"])).encode() if one["body"] is not None else bytes(one["size"])
    headers = {"Content-Type": "application/json"} if one["body"] is not None else {}
    connection.request(one["method"], path, body or None, headers)
    response = connection.getresponse()
    text = response.read()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, text


def _missing(at: str, recorded: Any, answer: Any, bound: dict[str, str]) -> list[str]:
    """Places where the answer does not hold what was recorded; it may hold more."""
    if isinstance(recorded, dict) and isinstance(answer, dict):
        return [
            line
            for key, one in recorded.items()
            for line in (
                _missing(f"{at}.{key}", one, answer[key], bound) if key in answer else [f"{at}.{key} is missing"]
            )
        ]
    if isinstance(recorded, list) and isinstance(answer, list):
        by_key = _by_key(recorded), _by_key(answer)
        if None not in by_key:
            return _missing(at, *by_key, bound)
        if len(recorded) == len(answer):
            pairs = zip(recorded, answer, strict=True)
            return [line for n, (one, other) in enumerate(pairs) for line in _missing(f"{at}.{n}", one, other, bound)]
    if isinstance(recorded, str) and isinstance(answer, str):
        return [] if _same(recorded, answer, bound) else [f"{at} is {answer!r} instead of {recorded!r}"]
    return [] if recorded == answer else [f"{at} is {answer!r} instead of {recorded!r}"]


def _by_key(values: list[Any]) -> dict[str, Any] | None:
    """Tags, params and metrics, which come in any order; not the history of one metric, nor what has no key."""
    found = {one["key"]: one for one in values if isinstance(one, dict) and "key" in one and one["key"] != VERSIONS}
    return found if found and len(found) + sum(_is_versions(one) for one in values) == len(values) else None


def _is_versions(value: Any) -> bool:
    return isinstance(value, dict) and value.get("key") == VERSIONS


def _same(recorded: str, answer: str, bound: dict[str, str]) -> bool:
    names = NAME.findall(recorded)
    pattern = re.escape(NAME.sub("\0", recorded)).replace(re.escape("\0"), "(.+?)")
    found = re.fullmatch(pattern, answer, flags=re.DOTALL)
    if not found:
        return False
    return all(bound.setdefault(name, text) == text for name, text in zip(names, found.groups(), strict=True))
