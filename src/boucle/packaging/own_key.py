"""Where one's own key for signing lies. The standard library only: the command line loads it for its help."""

import os
from pathlib import Path


def own_key(suffix: str) -> Path:
    """Where one's own key lies: `.pem` the private one, `.pub` the public one."""
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "boucle" / f"signing{suffix}"
