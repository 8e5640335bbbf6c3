"""What the monitor does with a prediction log that grows, until it is stopped: `python follow.py FOLDER`

Reads on every second, makes rows of the frames and adds them to the window's profile; at the end tells how many rows
there were and what they took of the processor.
"""

import json
import signal
import sys
import time
from pathlib import Path

from boucle.data import profiles
from boucle.monitoring.log_tail import LogTail
from boucle.monitoring.windows import INPUT, OUTPUT

EVERY_S = 1.0


def main(folder: Path) -> None:
    """Follow until SIGTERM."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    tail, known, rows = LogTail(folder, {}, 0), None, 0
    began = time.process_time()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not ended:
        for piece in tail.read(lambda _: True):
            names = [name for name in piece.rows.columns if name.startswith((INPUT, OUTPUT))]
            known = profiles.added(known or profiles.opened(piece.rows, names), piece.rows)
            rows += piece.rows.height
        time.sleep(EVERY_S)
    sys.stdout.write(f"{json.dumps({'rows': rows, 'cpu': time.process_time() - began})}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
