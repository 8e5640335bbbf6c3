"""Errors of Boucle's own protocol: what a command prints with `--json`."""

import msgspec

from boucle.identity.http import Response
from boucle.kernel.errors import BoucleError


def refuse(error: BoucleError) -> Response:
    """The answer that tells of an error.

    >>> refuse(BoucleError("it broke")).body
    b'{"error":{"code":"internal","message":"it broke","hint":null,"details":{}}}'
    """
    told = {"code": error.code, "message": error.message, "hint": error.hint, "details": error.details}
    return Response(error.status, msgspec.json.encode({"error": told}))
