"""The least a server of this kind can do: Granian, RSGI, an empty answer. `python hello.py PORT`"""

import sys

from granian import Granian
from granian.constants import Interfaces


async def app(_scope, protocol):
    """Read the body, answer `{}`."""
    await protocol()
    protocol.response_bytes(200, [("content-type", "application/json")], b"{}")


if __name__ == "__main__":
    Granian("hello:app", "127.0.0.1", int(sys.argv[1]), interface=Interfaces.RSGI, log_enabled=False).serve()
