"""Every spelling of a name that leads elsewhere is refused; ordinary names are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.kernel.errors import InvalidInput
from boucle.runs.artifact_paths import checked, parents, place_of

LEADING_AWAY = [
    "..",
    "../secret",
    "a/../../secret",
    "a/..",
    "./a",
    "a/./b",
    "%2e%2e/secret",
    "%2E%2E%2Fsecret",
    "%252e%252e%252fsecret",
    "%25252e%25252e/secret",
    "a%2f..%2fb",
    "%2fetc/passwd",
    "a\\b",
    "..\\secret",
    "%5c..%5csecret",
    "/etc/passwd",
    "//host/share",
    "a\0b",
    "a%00b",
    "a\nb",
    "a\x7fb",
    "C:/windows",
    "c:secret",
    "c%3a/secret",
    "file:/etc/passwd",
    "file:///etc/passwd",
    "FILE:etc",
    "http://host/a",
    "s3:/bucket",
    "a//b",
    "a/",
    "/",
    "",
    "a" * 10_000,
    "a/" * 499 + "a" * 500,
    "\u2025/secret",
    "\uff0e\uff0e/secret",
    "\u2024\u2024/secret",
    "..\u2215secret",
    "..\u2044secret",
    "a\uff0fb",
    "a\uff3cb",
    ".. /secret",
    "a\ud800b",
    "\u00e9" * 200,
]


@pytest.mark.parametrize("name", LEADING_AWAY, ids=lambda name: ascii(name[:40]))
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="no name of an artifact"):
        checked(name)
    with pytest.raises(InvalidInput):
        place_of(f"1/run/artifacts/{name}") if name else checked(name)


@pytest.mark.parametrize(
    "name",
    ["a", "plots/roc.png", "...", "a..b", "50%", "100%25", "été/modèle.bin", "a b", "run:1/y", "日本/語.txt", "#1"],
)
def test_an_ordinary_name_stays_as_it_is(name: str) -> None:
    assert checked(name) == name


@given(st.text(max_size=60))
def test_what_is_allowed_stays_below_where_it_is_put(name: str) -> None:
    try:
        checked(name)
    except InvalidInput:
        return
    depth = 0
    for part in name.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        assert depth > 0
    assert parents(name) == ["/".join(name.split("/")[:count]) for count in range(1, name.count("/") + 1)]


@pytest.mark.parametrize(
    "path", ["1", "1/2", "1/models/m-1", "models", "x/run/artifacts", "versions/a", "versions/a/b"]
)
def test_above_the_places_there_is_none(path: str) -> None:
    assert place_of(path) is None


def test_a_run_called_models_is_none() -> None:
    assert place_of("1/models/artifacts/x") is None
    assert place_of("versions/credit/3/model/MLmodel").path == "model/MLmodel"  # type: ignore[union-attr]
