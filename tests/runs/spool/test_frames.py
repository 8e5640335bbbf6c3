"""Frames: whatever is cut off or damaged, every whole frame is found, and nothing that is none."""

from hypothesis import given
from hypothesis import strategies as st

from boucle.runs.spool.frames import frame, scan

PAYLOADS = st.lists(st.binary(min_size=1, max_size=60), max_size=8)


@given(PAYLOADS)
def test_what_was_written_is_found(payloads: list[bytes]) -> None:
    data = b"".join(map(frame, payloads))
    for final in (False, True):
        found = scan(data + bytes(40), final=final)
        assert [one for _, one in found.frames] == payloads
        assert (found.end, found.damaged_bytes) == (len(data), 0)


@given(PAYLOADS, st.binary(max_size=60).map(lambda one: one + b"\1"), st.data())
def test_a_torn_frame_at_the_end_is_cut(payloads: list[bytes], last: bytes, draw: st.DataObject) -> None:
    data, torn = b"".join(map(frame, payloads)), frame(last)
    torn = torn[: draw.draw(st.integers(1, len(torn) - 1))]
    for tail in (torn, torn + bytes(100)):
        found = scan(data + tail, final=True)
        assert ([one for _, one in found.frames], found.end) == (payloads, len(data))
    assert scan(data + torn).end == len(data)


@given(PAYLOADS.filter(len), st.data())
def test_damage_costs_the_frame_it_is_in_and_no_other(payloads: list[bytes], draw: st.DataObject) -> None:
    data = bytearray(b"".join(map(frame, payloads)))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= draw.draw(st.integers(1, 255))
    lost = next(n for n in range(len(payloads)) if at < len(b"".join(map(frame, payloads[: n + 1]))))
    found = scan(bytes(data), final=True)
    assert [one for _, one in found.frames] == payloads[:lost] + payloads[lost + 1 :]
    is_last = lost == len(payloads) - 1
    assert found.damaged_bytes == (0 if is_last else len(frame(payloads[lost])))


@given(PAYLOADS, PAYLOADS, st.integers(1, 5000))
def test_frames_behind_a_lost_page_are_found(before: list[bytes], after: list[bytes], gap: int) -> None:
    data = b"".join(map(frame, before)) + bytes(gap) + b"".join(map(frame, after))
    assert [one for _, one in scan(data, final=True).frames] == before + after


@given(st.binary(max_size=300))
def test_any_bytes_can_be_scanned(data: bytes) -> None:
    for final in (False, True):
        assert 0 <= scan(data, final=final).end <= len(data)
