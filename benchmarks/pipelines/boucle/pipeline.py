"""Five steps that do nothing."""

from pathlib import Path

import boucle


def nothing(_: boucle.StepContext) -> int:
    return 0


NAMES = ("one", "two", "three", "four", "five")
STEPS = [boucle.Step(name, nothing, int, needs=NAMES[max(0, at - 1) : at]) for at, name in enumerate(NAMES)]

boucle.run_pipeline(boucle.Pipeline("nothing", STEPS), Path(__file__).parent)
