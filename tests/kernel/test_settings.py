from pathlib import Path

import pytest

from boucle.kernel.errors import InvalidInput
from boucle.kernel.settings import KNOWN, Setting, resolve


def found(name: str, settings: list[Setting]) -> tuple[str, str]:
    return next((setting.value, setting.source) for setting in settings if setting.name == name)


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    assert found("log_level", resolve({}, {}, tmp_path)) == ("warning", "default")
    (tmp_path / "boucle.toml").write_text('[boucle]\nlog_level = "error"\n')
    assert found("log_level", resolve({}, {}, tmp_path)) == ("error", "file")
    environ = {"BOUCLE_LOG_LEVEL": "INFO"}
    assert found("log_level", resolve({"log_level": None}, environ, tmp_path)) == ("info", "environment")
    assert found("log_level", resolve({"log_level": "debug"}, environ, tmp_path)) == ("debug", "flag")


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    assert found("color", resolve({}, {"BOUCLE_COLOR": ""}, tmp_path)) == ("auto", "default")


def test_home_stands_beside_boucle_yaml_unless_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert found("home", resolve({}, {}, project))[0] == str(project / ".boucle")
    (project / "boucle.toml").write_text('[boucle]\nhome = "../kept"\n')
    assert found("home", resolve({}, {}, project))[0] == str(tmp_path / "kept")
    assert found("home", resolve({"home": "here"}, {}, project))[0] == str(elsewhere / "here")
    assert found("home", resolve({}, {"BOUCLE_HOME": "~/there"}, project))[0] == str(Path.home() / "there")


def test_zero_threads_means_every_core(tmp_path: Path) -> None:
    assert int(found("threads", resolve({}, {}, tmp_path))[0]) >= 1
    (tmp_path / "boucle.toml").write_text("[boucle]\nthreads = 3\n")
    assert found("threads", resolve({}, {}, tmp_path)) == ("3", "file")


@pytest.mark.parametrize(
    ("name", "value"), [("threads", "-1"), ("threads", "two"), ("threads", "9999"), ("color", "red"), ("home", " ")]
)
def test_a_value_that_is_not_allowed_says_where_it_stands_and_what_is(tmp_path: Path, name: str, value: str) -> None:
    known = next(known for known in KNOWN if known.name == name)
    for flags, environ, where in (
        ({name: value}, {}, known.flag),
        ({}, {known.variable: value}, known.variable),
    ):
        with pytest.raises(InvalidInput) as raised:
            resolve(flags, environ, tmp_path)
        assert where in raised.value.message
        assert repr(value) in raised.value.message
        assert known.allowed in raised.value.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"[boucle]\nthread = 2", "unknown key boucle.thread"),
        (b"[bucle]\nthreads = 2", "unknown key 'bucle'"),
        (b"boucle = 3", "allowed is a table"),
        (b"[boucle]\nthreads = true", "boucle.threads is True"),
        (b"[boucle]\nhome = ['a']", "boucle.home is"),
        (b"[boucle", "not TOML"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_wrong_file_says_what_is_wrong_with_it(tmp_path: Path, text: bytes, told: str) -> None:
    (tmp_path / "boucle.toml").write_bytes(text)
    with pytest.raises(InvalidInput) as raised:
        resolve({}, {}, tmp_path)
    assert told in raised.value.message
    assert "boucle.toml" in raised.value.message


def test_the_nearest_known_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "boucle.toml").write_text("[boucle]\nthread = 2\n")
    with pytest.raises(InvalidInput) as raised:
        resolve({}, {}, tmp_path)
    assert raised.value.hint == "did you mean threads?"


def test_every_setting_is_described(tmp_path: Path) -> None:
    settings = resolve({}, {}, tmp_path)
    assert [setting.name for setting in settings] == [known.name for known in KNOWN]
    assert all(setting.description.endswith(".") for setting in settings)
