"""A bundle as a wheel: `pip install`, then `from churn import predict`."""

import keyword
import re
import sys
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from boucle.kernel.digests import Digest
from boucle.kernel.errors import InvalidInput
from boucle.packaging.manifest import read_manifest
from boucle.packaging.naming import check_served_name
from boucle.packaging.wheels import Wheel, write_wheel

_CODE: Final = '''{about!r}

from pathlib import Path

from boucle.packaging.installed import predict_with

predict = predict_with(Path(__file__).parent / "bundle")
"""Asks the model: a data frame, a mapping of columns or a list of rows goes in, a list for each output comes out."""
'''
_PROGRAMS: Final = {"boucle": "boucle.app.start:main"}


def write_model_wheel(
    bundle: Path, digest: Digest, name: str, number: int | None, folder: Path, beside: Mapping[str, bytes] | None = None
) -> Path:
    """Write a bundle folder as a wheel and name the file. The same bundle and the same beside it give the same bytes.

    `beside` are signature and attestations, by what follows the bundle folder's name: `.sig`, `.evidence/card.md`.

    The wheel's version is the model version's number and the begin of the bundle's digest. It needs the packages that
    the bundle names, in that version or a later one, and Boucle's reader. InvalidInput for a name that no
    model may have.
    """
    check_served_name(name, "a model")
    package = package_name(name)
    needs = [need.replace("==", ">=") for need in read_manifest(bundle).environment]
    files = {f"{package}/bundle/{path.relative_to(bundle).as_posix()}": path.read_bytes() for path in _files(bundle)}
    files |= {f"{package}/bundle{suffix}": data for suffix, data in (beside or {}).items()}
    code = _CODE.format(about=f"Model {name}, bundle {digest}.")
    wheel = Wheel(
        name=package,
        version=f"{number or 0}+{digest.removeprefix('sha256:')[:12]}",
        summary=f"Model {name}",
        requires=[f"boucle>={distribution('boucle').version}", *needs],
        files={**files, f"{package}/__init__.py": code.encode()},
    )
    return write_wheel(wheel, folder)


def write_own_wheel(folder: Path) -> Path:
    """Write the Boucle that is running as a wheel, so that an image gets the very same one, and name the file."""
    about = distribution("boucle")
    root = Path(__file__).parents[1]
    files = {f"boucle/{path.relative_to(root).as_posix()}": path.read_bytes() for path in _files(root)}
    wheel = Wheel(
        name="boucle",
        version=about.version,
        summary=about.metadata["Summary"],
        requires=about.requires or [],
        files=files,
        scripts=_PROGRAMS,
    )
    return write_wheel(wheel, folder)


def package_name(model: str) -> str:
    """The name of the package that a model becomes; InvalidInput if none can be made of it.

    >>> package_name("Customer-churn.v2")
    'customer_churn_v2'
    """
    name = re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_")
    taken = name == "boucle" or keyword.iskeyword(name) or name in sys.stdlib_module_names
    if not name.isidentifier() or taken:
        raise InvalidInput(
            f"no package can be called as the model {model!r} is; allowed are letters, digits and _, a letter "
            "first, and no word or module of Python",
            hint="give another with --name",
        )
    return name


def _files(folder: Path) -> list[Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".pyc")
    return [path for path in found if "__pycache__" not in path.parts]
