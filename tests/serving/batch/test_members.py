"""Members of lines of JSON are looked for in the whole file, however they are written."""

from pathlib import Path

import pytest

from boucle.serving.batch.members import members_of

WANTED = ["temp", "größe"]


@pytest.mark.parametrize("lines", [0, 10, 100_000])
@pytest.mark.parametrize("written", ['"größe"', '"gr\\u00f6\\u00dfe"'])
def test_a_member_is_found_in_any_line(written: str, lines: int, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    other = '{"temp": 1, "note": "one \\"two\\""}\n'
    file.write_text(other + "\n" + other * lines + f'{{{written}: 2, "more": 1}}' + "\n" + other * lines)
    assert members_of(file, WANTED) == ["temp", "note", "größe"]
    file.write_text(other * (lines + 1))
    assert members_of(file, WANTED) == ["temp", "note"]


def test_a_name_within_a_value_is_no_member(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"temp": 1}\n{"temp": {"größe": 1}, "note": "größe"}\n')
    assert members_of(file, WANTED) == ["temp"]
    file.write_text('{"temp": 1}\n{"größe"\n')
    assert members_of(file, WANTED) == ["temp", "größe"]
