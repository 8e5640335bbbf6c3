"""The program of a container image: `python -m boucle.app.container [serve | healthy | COMMAND ...]`.

`serve` answers for every bundle in `/opt/ml/model`, on the port that the platform names: SageMaker by
`SAGEMAKER_BIND_TO_PORT`, Vertex AI by `AIP_HTTP_PORT`, others by `PORT`, else 8080. Whoever reaches the container may
ask it: whom the network lets in is the platform's to say. `healthy` is the image's health check. Anything else is given
to `boucle`.
"""

import os
import sys
from pathlib import Path
from typing import Final

from boucle.app import start

MODELS: Final = Path("/opt/ml/model")
LOG_MB: Final = 1000
"""Bound of each model's prediction log, which goes with the container."""
_PORTS: Final = ("SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT", "PORT")


def main() -> None:
    """Do what the container was started for."""
    match sys.argv[1:]:
        case ["healthy"]:
            sys.exit(0 if _is_healthy() else 1)
        case [] | ["serve"]:
            folders = sorted(str(one.parent) for one in MODELS.glob("*/boucle.json"))
            sys.argv[1:] = ["serve", *folders, "--host", "0.0.0.0", "--port", port(), "--anyone"]
            sys.argv += ["--log", f"max_mb={LOG_MB}"]
    start.main()


def port() -> str:
    """The port that the surroundings name."""
    return next((os.environ[name] for name in _PORTS if os.environ.get(name)), "8080")


def _is_healthy() -> bool:
    from urllib.request import urlopen

    try:
        with urlopen(f"http://127.0.0.1:{port()}/v2/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    main()
