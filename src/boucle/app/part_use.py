"""What the parts of a running `boucle up` use."""

from pathlib import Path

from boucle.app.parts import read_parts
from boucle.monitoring.resources import ProcessUse, processes, use_of

CONTROL = "control"
"""The process that the parts belong to, which answers clients."""


def parts_use(home: Path) -> dict[str, ProcessUse]:
    """Each part with its processes, the control plane without them; empty where no `boucle up` runs."""
    state = read_parts(home)
    if state is None:
        return {}
    table = processes()
    pids = {one.name: one.pid for one in state.parts if one.pid is not None}
    found = {CONTROL: use_of(state.pid, table, without=pids.values())}
    return found | {name: use_of(pid, table) for name, pid in pids.items() if pid in table}
