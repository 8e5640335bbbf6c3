"""Notes every HTTP exchange of this process's MLflow client."""

import json
from typing import Any

import requests


def tap() -> list[dict[str, Any]]:
    """A list that grows with each request the client makes from now on."""
    exchanges: list[dict[str, Any]] = []
    send = requests.Session.send

    def noting(session: requests.Session, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        response = send(session, request, **kwargs)
        path, _, query = request.path_url.partition("?")
        exchanges.append(
            {
                "method": request.method,
                "path": path,
                "query": query,
                "body": _json(request.body),
                "size": _size(request),
                "status": response.status_code,
                "answer": None if kwargs.get("stream") else _json(response.content),
            }
        )
        return response

    requests.Session.send = noting  # type: ignore[method-assign]
    return exchanges


def _json(body: Any) -> Any:
    if not isinstance(body, str | bytes) or not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return None


def _size(request: requests.PreparedRequest) -> int:
    """Bytes of a body that is a file."""
    return 0 if isinstance(request.body, str | bytes | None) else int(request.headers.get("Content-Length") or 1)
