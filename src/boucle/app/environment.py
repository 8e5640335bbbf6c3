"""What this machine gives a project: Python, packages, disk."""

import re
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from msgspec import Struct

from boucle.kernel.errors import Unavailable

MIN_PYTHON = (3, 11)
MIN_FREE_MB = 500
EVERYTHING = "all"
"""The extra that projects, training and the tracking server need."""
DATA_PLANE = "serve"
"""The extra that a server of bundles needs."""
_OF_DATA_PLANE = frozenset({"granian", "numpy", "onnxruntime", "prometheus_client"})


class Fact(Struct, frozen=True, kw_only=True):
    """One thing that a project needs of its surroundings."""

    name: str
    value: str
    passed: bool
    message: str
    """What to do if it did not pass; empty otherwise."""
    needed: bool = True
    """Without it something does not work; otherwise it is only better to have it."""


def not_installed(module: str, command: Sequence[str]) -> Unavailable:
    """The error of a command that needs a package which is not there, with what installs it.

    >>> not_installed("granian", ["serve", "model"]).hint, not_installed("polars", ["run"]).hint
    ("pip install 'boucle[serve]'", "pip install 'boucle[all]'")
    """
    extra = DATA_PLANE if "serve" in command and module in _OF_DATA_PLANE else EVERYTHING
    return Unavailable(
        f"this needs the package {module}, which is not installed: Boucle came without its extra `{extra}`",
        hint=f"pip install 'boucle[{extra}]'",
    )


def inspect(home: Path) -> list[Fact]:
    """Python, every package that Boucle needs, and the disk that will hold the store."""
    return [_python(), *packages(), _disk(home)]


def packages(distribution: str = "boucle") -> list[Fact]:
    """The packages that a project needs, in alphabetical order: all but those of the other extras."""
    needed = {
        need
        for need in metadata.requires(distribution) or []
        if "extra ==" not in need or _belongs(need, EVERYTHING) or _belongs(need, DATA_PLANE)
    }
    return [_package(need) for need in sorted(needed, key=str.lower) if parse(need)[0] != distribution]


def extras(distribution: str = "boucle") -> list[Fact]:
    """Each extra, and what is missing for it."""
    about = metadata.metadata(distribution)
    needs = metadata.requires(distribution) or []
    return [
        _extra(distribution, extra, [need for need in needs if _belongs(need, extra)])
        for extra in sorted(about.get_all("Provides-Extra") or [])
    ]


def _belongs(requirement: str, extra: str) -> bool:
    """Whether a requirement is one of an extra.

    >>> _belongs("ray>=2; extra == 'ray'", "ray"), _belongs('polars; python_version > "3"', "ray")
    (True, False)
    """
    marker = requirement.partition(";")[2]
    return re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", marker) is not None


def _extra(distribution: str, extra: str, needs: list[str]) -> Fact:
    missing = [fact.name for fact in map(_package, needs) if not fact.passed]
    value = f"missing: {', '.join(missing)}" if missing else f"{len(needs)} packages"
    message = f'to use it: pip install "{distribution}[{extra}]"' if missing else ""
    return Fact(name=f"extra {extra}", value=value, passed=not missing, message=message, needed=False)


def _package(requirement: str) -> Fact:
    name, least = parse(requirement)
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Fact(name=name, value="missing", passed=False, message=f'pip install "{requirement}"')
    if least and _release(found) < _release(least):
        return Fact(name=name, value=found, passed=False, message=f'too old: pip install "{requirement}"')
    return Fact(name=name, value=found, passed=True, message="")


def parse(requirement: str) -> tuple[str, str | None]:
    """Name and least version of a requirement.

    >>> parse("tritonclient[http]>=2.50"), parse("rich"), parse("polars<2,>=1.20 ; python_version > '3'")
    (('tritonclient', '2.50'), ('rich', None), ('polars', '1.20'))
    """
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    least = re.search(r">=\s*([0-9][0-9.]*)", requirement.partition(";")[0])
    return (name.group() if name else requirement, least.group(1) if least else None)


def _release(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with.

    >>> _release("1.20.3rc1") > _release("1.9"), _release("0.18.0.dev2")
    (True, (0, 18, 0))
    """
    numbers = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(int(number) for number in numbers.group().split(".")) if numbers else ()


def _python() -> Fact:
    value = ".".join(str(part) for part in sys.version_info[:3])
    passed = sys.version_info[:2] >= MIN_PYTHON
    return Fact(name="Python", value=value, passed=passed, message="" if passed else "install Python 3.11 or later")


def _disk(home: Path) -> Fact:
    """Free space where the store is, or will be."""
    folder = next(one for one in (home, *home.parents) if one.is_dir())
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    passed = free_mb >= MIN_FREE_MB
    message = "" if passed else f"make room for at least {MIN_FREE_MB} MB, or choose another folder with --home"
    return Fact(name="free disk", value=f"{free_mb:,} MB in {folder}", passed=passed, message=message)
