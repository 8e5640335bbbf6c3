"""First-party imports are found wherever Python would find them."""

from pathlib import Path

import pytest

from boucle.kernel.errors import InvalidInput
from boucle.pipeline.imports import FirstParty, Import, Root, imports_of


def files(folder: Path, start: str, sources: dict[str, str]) -> set[str]:
    for name, source in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    found = FirstParty([Root(label="project", folder=folder)]).files([folder / start])
    return {path.relative_to(folder).as_posix() for path in found}


def absolute(name: str) -> Import:
    return Import(0, tuple(name.split(".")))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a", {absolute("a")}),
        ("import a.b as c, d", {absolute("a.b"), absolute("d")}),
        ("from a import *", {absolute("a")}),
        ("from . import a", {Import(1, ("a",))}),
        ("from ..a.b import c", {Import(2, ("a", "b", "c"))}),
        ("def f():\n    import a", {absolute("a")}),
        ("class C:\n    async def f(self):\n        import a", {absolute("a")}),
        (
            "try:\n    import a\nexcept ImportError:\n    import b\nelse:\n    import c\nfinally:\n    import d",
            {absolute("a"), absolute("b"), absolute("c"), absolute("d")},
        ),
        ("match 1:\n    case 1:\n        import a", {absolute("a")}),
        (
            "with open('x'):\n    for _ in ():\n        import a\n    else:\n        import b",
            {absolute("a"), absolute("b")},
        ),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", {absolute("b")}),
        ("if typing.TYPE_CHECKING:\n    import a\nelif x:\n    import b", {absolute("b")}),
        (
            "from importlib import import_module\nx = import_module('a.b')",
            {absolute("importlib.import_module"), absolute("a.b")},
        ),
        ("x = __import__('a')", {absolute("a")}),
        ("x = import_module(name)\ny = import_module('.a', 'b')\nz = import_module('')", set()),
        ("", set()),
    ],
)
def test_imports_are_seen(source: str, expected: set[Import]) -> None:
    assert set(imports_of(source.encode())) == expected


def test_bad_python_is_named_with_its_line() -> None:
    with pytest.raises(InvalidInput, match=r"features\.py:2 is no valid Python"):
        imports_of(b"x = 1\ndef (:\n", "features.py")
    with pytest.raises(InvalidInput, match="is no valid Python"):
        imports_of(b"x = '\0'", "features.py")


def test_a_chain_of_imports(tmp_path: Path) -> None:
    found = files(tmp_path, "a.py", {"a.py": "import b", "b.py": "from c import x", "c.py": "import a", "d.py": ""})
    assert found == {"a.py", "b.py", "c.py"}


def test_packages_run_their_init_files(tmp_path: Path) -> None:
    sources = {
        "a.py": "import p.q.m",
        "p/__init__.py": "from . import extra",
        "p/extra.py": "",
        "p/q/__init__.py": "",
        "p/q/m.py": "from ..sibling import x\nfrom . import n",
        "p/q/n.py": "",
        "p/sibling.py": "",
    }
    assert files(tmp_path, "a.py", {**sources, "p/other.py": ""}) == set(sources)


def test_starting_inside_a_package_includes_what_python_runs_before(tmp_path: Path) -> None:
    sources = {"p/__init__.py": "import helper", "p/q/__init__.py": "", "p/q/m.py": "", "helper.py": ""}
    assert files(tmp_path, "p/q/m.py", sources) == set(sources)


def test_namespace_packages_and_values(tmp_path: Path) -> None:
    sources = {"a.py": "from n.m import value\nimport n.missing, numpy, a.b", "n/m.py": "", "n/other.py": ""}
    assert files(tmp_path, "a.py", sources) == {"a.py", "n/m.py"}


def test_relative_imports_past_the_top_are_passed_over(tmp_path: Path) -> None:
    assert files(tmp_path, "a.py", {"a.py": "from " + "." * 60 + "x import y"}) == {"a.py"}


def test_only_the_package_of_a_root_is_first_party(tmp_path: Path) -> None:
    for name in ("boucle/__init__.py", "boucle/m.py", "numpy/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("import numpy, boucle.m")
    root = Root(label="boucle", folder=tmp_path, package="boucle")
    assert [path.name for path in FirstParty([root]).files([tmp_path / "boucle/m.py"])] == ["__init__.py", "m.py"]


def test_code_outside_the_roots_is_followed_in_its_own_package(tmp_path: Path) -> None:
    plugin = tmp_path / "site-packages" / "plugin"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text("")
    (plugin / "steps.py").write_text("import plugin.more, numpy")
    (plugin / "more.py").write_text("")
    (plugin.parent / "numpy.py").write_text("")
    (tmp_path / "project").mkdir()
    code = FirstParty([Root(label="project", folder=tmp_path / "project")])
    assert [path.name for path in code.files([plugin / "steps.py"])] == ["__init__.py", "more.py", "steps.py"]


def test_the_digest_sees_names_and_bytes_but_not_the_place(tmp_path: Path) -> None:
    digests = {}
    for case, name, text in [
        ("one", "m", "x = 1"),
        ("moved", "m", "x = 1"),
        ("edited", "m", "x = 2"),
        ("named", "n", "x = 1"),
    ]:
        folder = tmp_path / case
        folder.mkdir()
        (folder / f"{name}.py").write_text(text)
        digests[case] = FirstParty([Root(label="project", folder=folder)]).digest([folder / f"{name}.py"])
    assert digests["one"] == digests["moved"]
    assert len(set(digests.values())) == 3
