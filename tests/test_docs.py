"""The documentation says what the program does: names, defaults and links in it are compared with the real ones."""

import json
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import msgspec
import pytest
import typer

from boucle.app import control, worker
from boucle.app.main import _GLOBAL_FLAGS, _GLOBAL_OPTIONS, EXIT_CODES, app, hoist
from boucle.kernel.errors import BoucleError
from boucle.kernel.settings import KNOWN
from boucle.monitoring.windows import frames_to_table
from boucle.project.limits import LIMITS
from boucle.project.records import Project
from boucle.project.validate import PARAMS, QUALITY, SERVICE
from boucle.project.yaml_file import read_project
from boucle.protocols.control import Control
from boucle.serving.endpoints import Endpoints

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def section(heading: str) -> str:
    """The text below a heading of the reference, up to the next one of the same level or a higher one."""
    level = len(heading) - len(heading.lstrip("#"))
    _, found, rest = f"\n{text_of(REFERENCE)}".partition(f"\n{heading}\n")
    assert found, f"docs/reference.md has no heading {heading}"
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables in a text, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rules = {n for n, line in enumerate(lines) if set(line) <= set("|- ")}
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for n, line in enumerate(lines)
        if n not in rules and n + 1 not in rules
    ]


def code_blocks(text: str) -> list[str]:
    """Fenced and indented code, each without its marks."""
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"(?:^(?: {4}.*)?\n)+", rest, flags=re.MULTILINE)
    return [*fenced, *(re.sub(r"^ {4}", "", block, flags=re.MULTILINE).strip("\n") for block in indented)]


# --- commands ----------------------------------------------------------------------------------------------------


def commands() -> dict[str, Any]:
    """Every command by its words."""

    def below(group: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from below(command, (*words, name))
            else:
                yield " ".join((*words, name)), command

    return dict(below(typer.main.get_command(app), ()))


def options(command: Any) -> set[str]:
    return {option for one in command.params for option in one.opts if option.startswith("-")} - {"--help", "-h"}


def test_every_command_is_in_the_reference() -> None:
    headings = re.findall(r"^### `boucle ([a-z -]+)`$", text_of(REFERENCE), flags=re.MULTILINE)
    assert sorted(headings) == sorted(commands())


@pytest.mark.parametrize("words", list(commands()))
def test_every_option_is_in_the_reference(words: str) -> None:
    told = section(f"### `boucle {words}`")
    assert {cells[0].strip("`") for cells in rows(told)} == options(commands()[words])
    ends = re.search(r"^Ends with (.*?)\n\n", told + "\n\n", flags=re.MULTILINE | re.DOTALL)
    assert ends, f"the reference does not say how `boucle {words}` ends"
    assert {int(code) for code in re.findall(r"(?<![\w.])\d+(?![\w.]* MB)", ends[1])} <= set(EXIT_CODES)


def test_every_global_option_is_in_the_reference() -> None:
    told = section("## Commands").partition("###")[0]
    documented = set(re.findall(r"`(--?[a-z-]+)", "\n".join(cells[0] for cells in rows(told))))
    assert documented == options(typer.main.get_command(app)) | {"-h", "--help"}


def test_every_exit_code_is_in_the_reference() -> None:
    assert {int(code): meaning for code, meaning in rows(section("## Exit codes"))} == EXIT_CODES


def test_every_error_code_is_in_the_reference() -> None:
    def below(kind: type[BoucleError]) -> Iterator[type[BoucleError]]:
        yield kind
        for one in kind.__subclasses__():
            yield from below(one)

    told = section("## Error codes")
    table = {cells[0].strip("`"): (cells[1], cells[2]) for cells in rows(told)}
    kinds = [kind for kind in below(BoucleError) if kind.__module__.startswith("boucle.")]
    assert set(table) == {kind.code for kind in kinds} | {"usage"}
    assert {table[kind.code] for kind in kinds if kind.__module__ == BoucleError.__module__} == {
        (str(kind.status), str(kind.exit_code)) for kind in kinds if kind.__module__ == BoucleError.__module__
    }
    for kind in kinds:
        assert str(kind.exit_code) == table[kind.code][1]
        assert str(kind.status) in told


def test_every_setting_is_in_the_reference() -> None:
    table = {cells[0].strip("`"): cells[1:4] for cells in rows(section("## Settings"))}
    assert table == {one.name: [f"`{one.variable}`", f"`{one.default}`", one.allowed] for one in KNOWN}


# --- boucle.yaml ---------------------------------------------------------------------------------------------------


def sections() -> dict[str, type[msgspec.Struct]]:
    """Every record that boucle.yaml can hold, by the path that the reference calls it by."""

    def inner(kind: Any) -> Iterator[tuple[str, Any]]:
        if get_origin(kind) in (Union, types.UnionType):
            for one in get_args(kind):
                yield from inner(one)
        elif get_origin(kind) is list:
            yield from ((f"[]{suffix}", one) for suffix, one in inner(get_args(kind)[0]))
        elif get_origin(kind) is dict:
            yield from ((f".*{suffix}", one) for suffix, one in inner(get_args(kind)[1]))
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            tag = kind.__struct_config__.tag
            yield (f": {tag}" if tag else "", kind)

    def below(path: str, kind: Any) -> Iterator[tuple[str, Any]]:
        yield path or "boucle.yaml", kind
        for field in msgspec.structs.fields(kind):
            for suffix, one in inner(field.type):
                yield from below(f"{path}.{field.encode_name}{suffix}".lstrip("."), one)

    return dict(below("", Project))


def default_of(field: msgspec.structs.FieldInfo) -> str:
    """A default as the reference writes it."""
    if field.default_factory is not msgspec.NODEFAULT:
        made = field.default_factory()
        if isinstance(made, list) and made:
            return f"`{json.dumps(made)}`"
        return {list: "`[]`", dict: "`{}`"}.get(field.default_factory, "its own defaults")
    match field.default:
        case msgspec.NODEFAULT:
            return "required"
        case None:
            return "none"
        case bool(value):
            return f"`{str(value).lower()}`"
        case str(value):
            return f"`{value}`" if value else '`""`'
        case float(value):
            return f"`{value:g}`"
        case value:
            return f"`{value}`"


@pytest.mark.parametrize("path", list(sections()))
def test_every_key_of_the_project_file_is_in_the_reference(path: str) -> None:
    fields = msgspec.structs.fields(sections()[path])
    table = {cells[0].strip("`"): cells for cells in rows(section(f"### `{path}`"))}
    assert list(table) == [field.encode_name for field in fields]
    for field in fields:
        _, _, default, meaning = table[field.encode_name]
        assert default == default_of(field), field.encode_name
        limit = LIMITS.get((sections()[path], field.name))
        if limit is not None and not limit.words:
            bounds = [one for one in (limit.at_least, limit.above, limit.at_most, limit.below) if one is not None]
            for bound in bounds:
                assert re.search(rf"\b{bound:.10g}\b", meaning), f"{path}.{field.name}: {bound:.10g}"


def test_every_choice_of_a_key_is_in_the_reference() -> None:
    for path, kind in sections().items():
        told = section(f"### `{path}`")
        for field in msgspec.structs.fields(kind):
            for choice in get_args(field.type) if get_origin(field.type) is not list else ():
                if isinstance(choice, str):
                    assert f"`{choice}`" in told, f"{path}.{field.name}"


def test_no_section_of_the_reference_is_made_up() -> None:
    headings = re.findall(r"^### `([^`]+)`$", section("## boucle.yaml"), flags=re.MULTILINE)
    assert set(headings) - {"data.checks[]", "replay.drills[]"} == set(sections())


def test_every_metric_and_parameter_is_in_the_reference() -> None:
    told = section("## boucle.yaml")
    for name in (*QUALITY, *SERVICE, *PARAMS):
        assert f"`{name}`" in told, name
    table = {cells[0]: cells[1:] for cells in rows(section("### Metrics of objectives"))}
    for kind, facts in (("quality", QUALITY), ("service and loop", SERVICE)):
        for key, larger in enumerate((True, False)):
            names = re.findall(r"`([a-z0-9_]+)`", table[kind][key])
            assert sorted(names) == sorted(name for name, one in facts.items() if one.higher_is_better is larger)


# --- server and store ----------------------------------------------------------------------------------------------


def test_every_route_is_in_the_reference() -> None:
    real = [
        (one.method, f"`{prefix}{one.path}`", f"`{one.policy}`")
        for surface in worker.surfaces(Endpoints([]))
        for prefix, routes in (*((prefix, surface.routes) for prefix in surface.prefixes), ("", surface.outer))
        for one in routes
    ]
    assert [tuple(cells[:3]) for cells in rows(section("## The server"))] == real


def test_every_route_of_the_control_plane_is_in_the_reference(store: Any) -> None:
    made = {one.prefixes[0]: one for one in control.surfaces(Control(store=store, default_project="default"))}
    headings = {
        "": "### Of no protocol",
        "/api/2.0": "### The MLflow protocol",
        "/api/v1": "### Boucle's own protocol",
    }
    assert set(made) == set(headings)
    for prefix, surface in made.items():
        real = {(one.method, f"`{one.path}`", f"`{one.policy}`") for one in [*surface.routes, *surface.outer]}
        assert {tuple(cells[:3]) for cells in rows(section(headings[prefix]))} == real


def test_every_column_of_the_prediction_record_is_in_the_reference() -> None:
    names = [cells[0].strip("`") for cells in rows(section("## The prediction record"))]
    assert names == [*frames_to_table([]).columns, "in.<column>", "out.<column>"]


def test_everything_in_a_new_store_is_in_the_reference(store: Any) -> None:
    told = section("## The store")
    for path in store.home.iterdir():
        if path.name != "replay":  # an empty folder
            assert path.name.removesuffix(".next") in told, path.name


# --- pages ---------------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """What headings of a page, or boxes of a picture, are called in links, as GitHub makes it."""
    if path.suffix == ".svg":
        return set(re.findall(r' id="([a-z-]+)"', text_of(path)))
    headings = re.findall(r"^#+ (.+)$", text_of(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_points_to_something(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), target
        assert found == ROOT or ROOT in found.parents, target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_page_names_a_folder_of_somebody_s_machine(page: Path) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|work|Users)/", text_of(page))


def lines_with_commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in code_blocks(text_of(page)):
            for line in block.splitlines():
                match = re.match(r"(?:\$ )?((?:[A-Z_]+=\S+ )*boucle [a-z-].*)", line)
                if match:
                    found.append((named(page), match[1]))
    return found


@pytest.mark.parametrize(("page", "line"), lines_with_commands())
def test_every_command_line_can_be_given(page: str, line: str) -> None:
    words = shlex.split(re.split(r"\s[|>&#]|;", line)[0], comments=True)
    arguments = hoist(words[words.index("boucle") + 1 :])
    while arguments and arguments[0].startswith(("--home", "--project", *_GLOBAL_FLAGS)):
        arguments = arguments[2 if arguments[0] in _GLOBAL_OPTIONS else 1 :]
    if not arguments or arguments == ["--help"]:
        return
    known = commands()
    name = next((" ".join(arguments[:n]) for n in (3, 2, 1) if " ".join(arguments[:n]) in known), None)
    assert name, f"{page}: `{line}` names no command"
    rest = arguments[len(name.split()) :]
    if rest != ["--help"]:
        # Click's own parser: an unknown option or a missing argument raises.
        known[name].make_context("boucle", rest, resilient_parsing=False)


def test_there_are_command_lines_to_check() -> None:
    pages = {page for page, _ in lines_with_commands()}
    assert pages >= {"README.md", "docs/tutorial.md", "docs/gates.md", "docs/goes-bad.md"}


def named_tests() -> list[str]:
    return re.findall(r"`(tests/[\w/]+\.py::\w+)`", text_of(ROOT / "docs" / "guarantees.md"))


@pytest.mark.parametrize("name", named_tests())
def test_every_test_that_a_guarantee_names_exists(name: str) -> None:
    path, _, function = name.partition("::")
    # A definition, or for a state machine the assignment that makes the test.
    assert re.search(rf"^(?:def {function}\(|{function} = )", text_of(ROOT / path), flags=re.MULTILINE)


_LONG_OR_NOT = """
import pytest, sys

class Tell:
    def pytest_collection_finish(self, session):
        for item in session.items:
            name = item.nodeid.partition("[")[0].replace("::runTest", "")
            print("told", name, "long" if item.get_closest_marker("long") else "not")

sys.exit(pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[Tell()]))
"""


@pytest.mark.slow
def test_the_guarantees_say_which_tests_are_long() -> None:
    """Asked of pytest itself: `make test` takes those that are not marked `long`."""
    files = sorted({name.partition("::")[0] for name in named_tests()})
    command = [sys.executable, "-c", _LONG_OR_NOT, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    kinds: dict[str, set[str]] = {}
    for _, name, kind in (line.split() for line in done.stdout.splitlines() if line.startswith("told ")):
        kinds.setdefault(name, set()).add(kind)
    words = {frozenset({"not"}): "", frozenset({"long"}): " *long*", frozenset({"long", "not"}): " *partly long*"}
    wrong = [
        wanted
        for _, cell in rows(text_of(ROOT / "docs" / "guarantees.md"))
        if cell != (wanted := f"`{(name := cell.split('`')[1])}`{words[frozenset(kinds[name])]}")
    ]
    assert wrong == [], "docs/guarantees.md should say so"


def test_every_guarantee_names_a_test() -> None:
    table = rows(text_of(ROOT / "docs" / "guarantees.md"))
    assert len(table) == len(named_tests()) > 40


@pytest.mark.parametrize(
    "snippet",
    [
        pytest.param(block, id=f"{named(page)}-{number}")
        for page in PAGES
        for number, block in enumerate(code_blocks(text_of(page)))
        if block.lstrip().startswith("project:")
    ],
)
def test_every_project_file_in_the_pages_is_accepted(snippet: str, tmp_path: Path) -> None:
    (tmp_path / "boucle.yaml").write_text(snippet + "\n", encoding="utf-8")
    assert isinstance(read_project(tmp_path / "boucle.yaml"), Project)


def test_the_numbers_of_the_tutorial_are_about_the_example() -> None:
    """What the tutorial tells about the example's own file must still stand in that file."""
    example = read_project(ROOT / "examples" / "flights" / "boucle.yaml")
    assert example.replay is not None
    tutorial = text_of(ROOT / "docs" / "tutorial.md")
    for day in (example.replay.first, example.replay.last):
        assert str(day) in tutorial
    drills = [one for drill in example.replay.drills for one in msgspec.structs.astuple(drill) if isinstance(one, date)]
    for day in drills:
        assert str(day) in tutorial
