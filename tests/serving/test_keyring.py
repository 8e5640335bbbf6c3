"""What a worker knows of keys while their files cannot be read."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from boucle.identity.api import credential
from boucle.serving.keys import Keyring, add_key, remove_key


@contextmanager
def no_files_left() -> Iterator[None]:
    """A process that has as many files open as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_keys_that_cannot_be_read_just_now_open_nothing_and_are_read_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text, _ = add_key(tmp_path, "flights", "ada", per_second=None, now_ms=0)
    keyring = Keyring(tmp_path, ["flights"])
    known = credential(f"Bearer {text}")
    assert known is not None
    assert keyring.holder(known.id, known.secret) is not None
    add_key(tmp_path, "flights", "bob", per_second=None, now_ms=0)
    with no_files_left():
        for _ in range(3):
            keyring.look()
            assert keyring.is_locked("flights")
            assert keyring.holder(known.id, known.secret) is None
    assert caplog.text.count("answers nobody") == 1
    keyring.look()
    assert keyring.holder(known.id, known.secret) is not None
    remove_key(tmp_path, "flights", "ada")
    keyring.look()
    assert keyring.holder(known.id, known.secret) is None
