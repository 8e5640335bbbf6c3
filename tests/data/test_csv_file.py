"""CSV files as people have them: read in the format that is named, refused with line and edit otherwise."""

from pathlib import Path

import pytest

from boucle.data.csv_file import line_of, read_csv
from boucle.data.csv_sniff import sniff_csv, written
from boucle.data.records import CsvFormat, DataSection, Encoding, Features
from boucle.data.sources import read_table
from boucle.kernel.errors import InvalidInput

PLAIN = CsvFormat()


def read(folder: Path, text: str | bytes, csv_format: CsvFormat = PLAIN) -> dict[str, list[object]]:
    path = folder / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_csv(path, csv_format).to_dict(as_series=False)


def refused(folder: Path, text: str | bytes, csv_format: CsvFormat = PLAIN) -> tuple[str, str | None]:
    with pytest.raises(InvalidInput) as caught:
        read(folder, text, csv_format)
    return caught.value.message, caught.value.hint


# --- formats -------------------------------------------------------------------------------------------------------


def test_semicolons_decimal_commas_and_words_for_nothing(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "city;temp;day\nGraz;1,5;NA\n?;-2;2013-07-01\nNA;?;2013-07-02\n",
        CsvFormat(separator=";", decimal=",", nulls=["", "NA", "?"]),
    )
    assert table == {
        "city": ["Graz", None, None],
        "temp": [1.5, -2.0, None],
        "day": [None, "2013-07-01", "2013-07-02"],
    }


@pytest.mark.parametrize("separator", [";", "\t", "|", " "])
def test_other_separators(tmp_path: Path, separator: str) -> None:
    text = 'a,b\n1,"x,y"\n2,z\n'.replace(",", separator)
    found = read(tmp_path, text, CsvFormat(separator=separator))  # type: ignore[arg-type]
    assert found == {"a": [1, 2], "b": [f"x{separator}y", "z"]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "mac-roman"])
def test_encodings(tmp_path: Path, encoding: Encoding) -> None:
    text = "città,n\r\nForlì,1\r\n".encode(encoding)
    assert read(tmp_path, text, CsvFormat(encoding=encoding)) == {"città": ["Forlì"], "n": [1]}


def test_bytes_that_are_not_of_the_encoding_are_named_by_line(tmp_path: Path) -> None:
    message, hint = refused(tmp_path, "a,b\nx,1\nß,2\n".encode(), CsvFormat(encoding="shift_jis"))
    assert message.startswith("t.csv, line 3: byte 0x9f is no shift_jis")
    assert hint == "remove data.csv from boucle.yaml: the file is UTF-8 with commas; then: boucle check"


def test_utf16_that_is_read_as_utf8(tmp_path: Path) -> None:
    text = "town,n\nGraz,1\nLinz,2\n"
    assert "encoding: utf-16}" in str(refused(tmp_path, text.encode("utf-16"))[1])
    message, hint = refused(tmp_path, text.encode("utf-16-le"))
    assert "line 1: zero bytes" in message
    assert "encoding: utf-16-le}" in str(hint)


def test_lines_of_old_macs(tmp_path: Path) -> None:
    assert read(tmp_path, "a,b\r1,x\r2,y\r") == {"a": [1, 2], "b": ["x", "y"]}
    assert read(tmp_path, 'a,b\r1,"x\ny"\r2,y\r') == {"a": [1, 2], "b": ["x\ny", "y"]}


# --- blanks, names, blank lines ------------------------------------------------------------------------------------


def test_blanks_around_cells_and_names_do_not_count(tmp_path: Path) -> None:
    text = "age, work, paid , known\n39, State, 1.5, true\n 50, ?, ?, False\n"
    found = read(tmp_path, text, CsvFormat(nulls=["", "?"]))
    assert found == {"age": [39, 50], "work": ["State", None], "paid": [1.5, None], "known": [True, False]}


def test_lines_without_a_value_do_not_count(tmp_path: Path) -> None:
    assert read(tmp_path, "a,b\n1,x\n\n,\n2,\n\n") == {"a": [1, 2], "b": ["x", None]}
    assert read(tmp_path, "a,b,c\n1,x,2\n  \n,\n2,,\n") == {"a": [1, 2], "b": ["x", None], "c": [2, None]}


def test_a_column_without_a_name_is_called_by_its_place(tmp_path: Path) -> None:
    assert read(tmp_path, '"","mpg"\n"Mazda",21\n"Fiat",32\n') == {"column_1": ["Mazda", "Fiat"], "mpg": [21, 32]}
    assert list(read(tmp_path, ",a, ,b\n1,2,3,4\n")) == ["column_1", "a", "column_3", "b"]
    assert "`column_2` stands there 2 times" in refused(tmp_path, "column_2,,\n1,2,3\n")[0]


@pytest.mark.parametrize("text", ["a,b,\n1,2,\n3,4,\n", "a,b\n1,2,\n3,4,\n", "a,b,,\n1,2\n3,4,,\n"])
def test_separators_at_the_ends_of_lines(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == {"a": [1, 3], "b": [2, 4]}


# --- what is wrong -------------------------------------------------------------------------------------------------


def test_another_separator_is_seen_and_the_edit_named(tmp_path: Path) -> None:
    message, hint = refused(tmp_path, "age;city\n1,5;Graz\n2,5;Linz\n")
    assert message == ("t.csv, line 1: parted at `,` this is one column, `age;city`; `;` stands in it 1 times")
    assert hint == 'set data.csv: {separator: ";", decimal: ","} in boucle.yaml, then: boucle check'


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('a,b\n1,"x\n2,y\n', "line 2: no valid CSV: a quote is opened here and never closed"),
        ('a,b\n1,x\n2,"y"z\n', "line 3: no valid CSV: ',' expected after '\"'"),
        ("a,b\n1,2\n\n1,2,3\n", "line 4: no valid CSV: 3 cells, but 2 names in the first line"),
        ('a,b\n"x\ny",2\n1,2,3\n', "line 4: no valid CSV: 3 cells"),
        ("a,b,c\n1,2,3\n\n1,2", "line 4: 2 cells, but 3 names in the first line"),
        ('a,b,c\n1,"x\ny",3\n,,\n1,"x\ny"\n', "line 5: 2 cells, but 3 names in the first line"),
        ("a,b,\n1,2,\n3\n", "line 3: 1 cells, but 2 names in the first line"),
    ],
)
def test_a_mistake_is_named_by_line(tmp_path: Path, text: str, what: str) -> None:
    message, hint = refused(tmp_path, text)
    assert what in message
    assert hint == f"correct {tmp_path / 't.csv'}, then run: boucle check"


def section(**asked: object) -> DataSection:
    return DataSection(source="t.csv", target="y", features=Features(numeric=["x"]), **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "line", "value", "edit"),
    [
        ('x,y\n1,"a\nb"\n\n2,c\nNA,d\n', 6, "'NA'", '{nulls: ["", "NA"]}'),
        ("x;y\n1,5;a\n2,5;b\n", 2, "'1,5'", '{separator: ";", decimal: ","}'),
    ],
)
def test_text_in_a_numeric_feature_names_line_value_and_edit(
    tmp_path: Path, text: str, line: int, value: str, edit: str
) -> None:
    (tmp_path / "t.csv").write_text(text)
    csv_format = CsvFormat(separator=";") if ";" in text else None
    with pytest.raises(InvalidInput) as caught:
        read_table(section(csv=csv_format), tmp_path)
    assert caught.value.message.startswith(f"t.csv, line {line}: column `x`, row")
    assert value in caught.value.message
    assert caught.value.hint == f"set data.csv: {edit} in boucle.yaml, then: boucle check"


def test_a_time_in_another_form_is_refused_with_its_value(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("at,x,y\n2013-07-01,1,a\n07/02/2013,2,b\n")
    with pytest.raises(
        InvalidInput, match=r"t.csv, line 3: column `at`, row 2: '07/02/2013'; a timestamp like 2013-07"
    ):
        read_table(section(time="at"), tmp_path)


def test_the_line_of_a_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n\n1,"x\ny"\n,\n2,z\n')
    assert [line_of(path, PLAIN, row) for row in (1, 2)] == [3, 6]


# --- the guess -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "format_"),
    [
        ("a,b\n1,x\n2,y\n", PLAIN),
        ('a,b\n1,"x;y;z"\n2,"u;v;w"\n', PLAIN),
        ("", PLAIN),
        ("a\n1\n2\n", PLAIN),
        ("name\ntwo words\nthree more words\n", PLAIN),
        ("a;b\n1;x\n2;y\n", CsvFormat(separator=";")),
        ("a;b\n1,5;x, y\n2;z\n", CsvFormat(separator=";", decimal=",")),
        ("a\tb, c\n1\tx\n2\ty\n", CsvFormat(separator="\t")),
        ("a|b|c\n1|x|2\n2|y|3\n", CsvFormat(separator="|")),
        ("a b\n1 2\n3 4\n", CsvFormat(separator=" ")),
        ("x,y\n1,NA\n2,3\n", CsvFormat(nulls=["", "NA"])),
        ("x,land\n1,NA\n2,DE\n", PLAIN),  # Namibia
        ("x,land\n1,?\n2,DE\n", CsvFormat(nulls=["", "?"])),
        ("x,y\n-,2013-07-01\n.,2013-07-02\n3,None\n", CsvFormat(nulls=["", "None", "-", "."])),
        ("x,y\n1,none\n2,brick\n", PLAIN),
        ("x,y\nNaN,1\n1.5,2\n", PLAIN),
        ("x;y\n1,234;a\n2,345;b\n", CsvFormat(separator=";")),  # thousands or fractions: not for a guess
        ("age, work\n39, ?\n50, State\n", CsvFormat(nulls=["", "?"])),
    ],
)
def test_what_is_guessed(tmp_path: Path, text: str, format_: CsvFormat) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    assert sniff_csv(path) == format_


@pytest.mark.parametrize(
    ("encoding", "guess"),
    [
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-16-be", "utf-16-be"),
        ("windows-1252", "windows-1252"),
        ("latin-1", "windows-1252"),
    ],
)
def test_which_encoding_is_guessed(tmp_path: Path, encoding: str, guess: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("town,n\nMünchen,1\nKöln,2\n".encode(encoding))
    assert sniff_csv(path).encoding == guess


def test_a_null_far_down_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "1,2\n" * 50_000 + "NA,3\n")
    assert written(sniff_csv(path)) == '{nulls: ["", "NA"]}'


@pytest.mark.parametrize("noise", [b"\x00\x01\x02", b'"', b"\xff\xfe\x00", b"\n\n", b'a,b\n"x', b"\x81\x8d,b\n1,2"])
def test_no_file_breaks_the_guess(tmp_path: Path, noise: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(noise)
    sniff_csv(path)
