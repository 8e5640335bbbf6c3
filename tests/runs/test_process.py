"""What is masked of a command line and of changed files."""

import sys
import time

import pytest

from boucle.runs.process import masked, without_secrets

LINES = [
    '+  "password": "hunter2",',
    '+os.environ["API_KEY"] = "hunter2"',
    "+config['db']['password'] = 'hunter2'",
    '+password = "my hunter2 phrase"',
    "+password = r'it\\'s hunter2'",
    '+password = "my" + " hunter2"',
    '+password: str = "hunter2"',
    "+password: my hunter2 phrase",
    "+DB_PASSWORD=my hunter2",
    '+key = os.getenv("API_KEY", "hunter2")',
    '+headers = {"Authorization": f"Bearer hunter2"}',
    "+curl -H 'Authorization: Bearer hunter2'",
    "+curl --token hunter2 --depth 3",
    "+<password>hunter2</password>",
    '+    "token = \\"hunter2\\"\\n",',
    '+{\\"password\\": \\"hunter2\\"}',
    '+setattr(me, "secret",  "hunter2")',
    "+postgresql://me:p@hunter2@host/db",
    '+if password == "hunter2":',
    "+passphrase := `hunter2`",
    '+password = "hunter2',
]


@pytest.mark.parametrize("line", LINES)
def test_no_way_of_writing_a_secret_leaves_it_in_a_text(line: str) -> None:
    text = without_secrets(f" depth = 3\n{line}\n+rate = 0.1")
    assert "hunter2" not in text
    assert "[masked]" in text
    assert text.startswith(" depth = 3\n+")
    assert text.endswith("\n+rate = 0.1")


@pytest.mark.parametrize("line", ["+depth = 3", "+x['a'] = 'b'  # see https://example.org/a", "-model.fit(x, y=1)", ""])
def test_other_lines_stay_as_they_are(line: str) -> None:
    assert without_secrets(line) == line


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--password", "-abc"], ["--password", "[masked]"]),
        (["--password", "--abc", "--depth", "3"], ["--password", "[masked]", "--depth", "3"]),
        (["--hf-token", "abc", "x"], ["--hf-token", "[masked]", "x"]),
        (["--db-password=my abc"], ["--db-password=[masked]"]),
        (["db.password=my abc", "depth=3"], ["db.password=[masked]", "depth=3"]),
        (["--token=abc", "--depth", "3"], ["--token=[masked]", "--depth", "3"]),
    ],
)
def test_a_command_line_without_its_secrets(words: list[str], kept: list[str]) -> None:
    assert masked([sys.executable, *words]) == [sys.executable, *kept]


def test_long_lines_take_no_longer_than_they_are_long() -> None:
    began = time.process_time()
    for text in ("token" * 40_000, 'token="' + "\\" * 200_000, "--" + "-" * 200_000, "a://" + "b" * 200_000):
        without_secrets(text)
    assert time.process_time() - began < 5
