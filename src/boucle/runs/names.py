"""A name for a run that came without one: two words and a number, easy to say and to tell apart."""

import random
from typing import Final

_KINDS: Final = (
    "amber", "brave", "brisk", "calm", "candid", "clear", "copper", "crisp", "daring", "deft", "dusty", "eager",
    "early", "fleet", "fond", "frosty", "gentle", "gilded", "glad", "hardy", "hazel", "humble", "jolly", "keen",
    "light", "lively", "lucid", "mellow", "mild", "misty", "modest", "nimble", "patient", "plain", "polar", "proud",
    "quiet", "rapid", "russet", "sage", "silver", "sleek", "snowy", "solid", "steady", "sunny", "swift", "tidy",
    "upbeat", "vivid", "warm", "wry",
)  # fmt: skip
_THINGS: Final = (
    "alder", "anchor", "badger", "beacon", "birch", "bridge", "brook", "canyon", "cedar", "comet", "crane", "delta",
    "ember", "falcon", "fern", "finch", "fjord", "garnet", "glacier", "harbor", "heron", "ibis", "island", "jetty",
    "juniper", "kestrel", "lagoon", "lantern", "larch", "linden", "lynx", "maple", "marten", "meadow", "oriole",
    "otter", "pebble", "pine", "plover", "quarry", "raven", "reef", "ridge", "sparrow", "spruce", "summit", "thistle",
    "tulip", "valley", "willow", "wren", "yarrow",
)  # fmt: skip


def new_name(source: random.Random) -> str:
    """Two words and a number of up to three digits.

    >>> new_name(random.Random(7))
    'hazel-comet-404'
    """
    return f"{source.choice(_KINDS)}-{source.choice(_THINGS)}-{source.randrange(1000)}"
