"""Which members the lines of a JSON file have: one that only some lines have is missing in the others."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from boucle.kernel.errors import InvalidInput
from boucle.packaging.records import Signature
from boucle.serving.batch.records import TableFile

_BLOCK_BYTES: Final = 1 << 20


def members_of(path: Path, wanted: Collection[str]) -> list[str]:
    """All members of the first line, and those of `wanted` that any line has.

    Reads until all are found. A line that is no JSON object ends the search as if they were: it is told of, with its
    place, when it is read.
    """
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    found: dict[str, None] = {}
    missing = list(wanted)
    with path.open("rb") as file:
        while missing and (block := file.read(_BLOCK_BYTES) + file.readline()):
            if found and not _may_have(block, missing):
                continue
            for line in block.split(b"\n"):
                if not line.strip() or (found and not _may_have(line, missing)):
                    continue
                try:
                    row = decoder.decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    return [*found, *missing]
                found |= dict.fromkeys(name for name in row if name in missing or not found)
                missing = [name for name in missing if name not in found]
                if not missing:
                    break
    return list(found)


def _may_have(text: bytes, names: Collection[str]) -> bool:
    """Whether one of the names may be written in a text, as it is or with escapes."""
    return b"\\" in text or any(msgspec.json.encode(name) in text for name in names)


def check_members(files: Collection[TableFile], signature: Signature) -> None:
    """InvalidInput names what the model needs and no line of a table's JSON files has. Empty files do not count."""
    lines = [one for one in files if one.kind == "jsonl"]
    known = {name for one in lines for name in one.columns}
    missing = [one.name for one in signature.inputs if one.name not in known]
    if lines and missing:
        columns = lines[0].columns
        raise InvalidInput(
            f"{lines[0].name} has no member {', '.join(map(repr, missing))} in any line, which the model needs; the "
            f"first has {', '.join(columns[:20]) or 'none'}{' ...' if len(columns) > 20 else ''}",
            hint="name the members as the columns were named in training, with null where a value is not known",
        )
