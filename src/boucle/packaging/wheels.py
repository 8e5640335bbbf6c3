"""Writes wheels, https://packaging.python.org/en/latest/specifications/binary-distribution-format/.

The same contents give the same bytes: entries are sorted, and their time is always the first that a zip can hold.
"""

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

from msgspec import Struct

from boucle.kernel.paths import make_folder, write_atomic

_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o100644 << 16
_WHEEL: Final = b"Wheel-Version: 1.0\nGenerator: boucle\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


class Wheel(Struct, frozen=True, kw_only=True):
    """What a wheel for any platform holds."""

    name: str
    """As in its file's name: letters, digits and `_`."""
    version: str
    summary: str
    requires: Sequence[str] = ()
    requires_python: str = ">=3.11"
    files: Mapping[str, bytes]
    """What is installed, by its path in the environment's folder of packages."""
    scripts: Mapping[str, str] = {}
    """Programs: name to `module:function`."""

    @property
    def file_name(self) -> str:
        """Name of the file.

        >>> Wheel(name="churn", version="3", summary="", files={}).file_name
        'churn-3-py3-none-any.whl'
        """
        return f"{self.name}-{self.version}-py3-none-any.whl"


def write_wheel(wheel: Wheel, folder: Path) -> Path:
    """Write the file into a folder, over one of the same name, and name it."""
    about = f"{wheel.name}-{wheel.version}.dist-info"
    entries = {**wheel.files, f"{about}/METADATA": _metadata(wheel), f"{about}/WHEEL": _WHEEL}
    if wheel.scripts:
        lines = "".join(f"{name} = {target}\n" for name, target in sorted(wheel.scripts.items()))
        entries[f"{about}/entry_points.txt"] = f"[console_scripts]\n{lines}".encode()
    record = [f"{name},sha256={_hash(data)},{len(data)}" for name, data in sorted(entries.items())]
    listed = {
        **dict(sorted(entries.items())),
        f"{about}/RECORD": "\n".join([*record, f"{about}/RECORD,,", ""]).encode(),
    }
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in listed.items():
            entry = zipfile.ZipInfo(name, _EARLIEST)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, _MODE
            archive.writestr(entry, data)
    make_folder(folder)
    path = folder / wheel.file_name
    write_atomic(path, packed.getvalue())
    path.chmod(0o644)
    return path


def _metadata(wheel: Wheel) -> bytes:
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {wheel.name}",
        f"Version: {wheel.version}",
        f"Summary: {wheel.summary}",
        f"Requires-Python: {wheel.requires_python}",
        *(f"Requires-Dist: {need}" for need in wheel.requires),
    ]
    return "\n".join([*lines, ""]).encode()


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
