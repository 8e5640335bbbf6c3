"""Large requests are turned away when those before them take too long."""

import asyncio
from itertools import count

import pytest

from boucle.kernel.errors import Busy
from boucle.serving.heavy import Heavy


def test_who_would_wait_too_long_is_told_at_once() -> None:
    async def scene() -> None:
        ticks = count()
        heavy = Heavy(1.0, timer=lambda: float(next(ticks)))  # each reading takes a second
        with heavy.taken(100):
            assert await heavy.read(100, bytes.decode, b"x") == "x"
        with heavy.taken(90), heavy.taken(90):  # 0.9 s of work before the second
            with pytest.raises(Busy, match="180 bytes are being read already, about") as refused:
                heavy.taken(1)
            assert refused.value.retry_after_s == pytest.approx(1.8)
        assert heavy.waiting_bytes == 0
        with heavy.taken(10_000_000):  # whoever comes alone is read, however large
            pass

    asyncio.run(scene())


def test_what_fails_waits_no_longer() -> None:
    heavy = Heavy(1.0)
    with pytest.raises(ValueError, match="broken"), heavy.taken(5):
        raise ValueError("broken")
    assert heavy.waiting_bytes == 0
