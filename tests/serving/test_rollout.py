"""How traffic changes, and who answers a question: the rules alone."""

from collections import Counter
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from boucle.kernel.digests import digest_bytes
from boucle.kernel.errors import Conflict, InvalidInput, NotFound
from boucle.serving import rollout
from boucle.serving.records import Canary, Deployment, Traffic


def version(number: int) -> Deployment:
    return Deployment(number=number, bundle_digest=digest_bytes(b"%d" % number), path=f"bundles/{number}")


def traffic(*champions: int) -> Traffic:
    """Traffic to the last of these, which took charge one after the other."""
    made = Traffic(endpoint="flights", generation=1, champion=version(champions[0]))
    for number in champions[1:]:
        made = rollout.with_champion(made, version(number))
    return made


def test_instead_of_what_cannot_answer_the_champions_before_do() -> None:
    made: Traffic | None = rollout.with_canary(traffic(1, 2, 3), Canary(deployment=version(4), weight=10.0))
    asked = []
    while made is not None:
        asked.append((made.champion.number, made.canary is not None))
        made = rollout.instead(made)
    assert asked == [(3, True), (3, False), (2, False), (1, False)]


def test_instead_of_what_must_be_signed_nothing_answers_that_another_key_signed_or_none() -> None:
    first, second = (replace(version(number), signer=f"key of {number}") for number in (1, 3))
    made = replace(traffic(2), champion=second, before=[replace(second, number=7), first, version(2)])
    found = rollout.instead(made)
    assert found is not None
    assert found.champion.number == 7
    assert rollout.instead(found) is None


def with_canary(weight: float, number: int = 2) -> Traffic:
    return rollout.with_canary(traffic(1), Canary(deployment=version(number), weight=weight))


@settings(deadline=None)
@given(weight=st.floats(0.5, 99.5), keys=st.lists(st.text(), max_size=20))
def test_the_same_key_gets_the_same_version_while_the_weight_stays(weight: float, keys: list[str]) -> None:
    first, again = with_canary(weight), with_canary(weight)
    assert [rollout.pick(first, key) for key in keys] == [rollout.pick(again, key) for key in keys]


@settings(deadline=None)
@given(low=st.floats(0.5, 50), more=st.floats(0, 49), keys=st.lists(st.text(), max_size=20))
def test_a_canary_that_grows_keeps_the_keys_it_has(low: float, more: float, keys: list[str]) -> None:
    small, large = with_canary(low), with_canary(low + more)
    kept = [key for key in keys if rollout.pick(small, key) == "canary"]
    assert all(rollout.pick(large, key) == "canary" for key in kept)


@pytest.mark.parametrize("weight", [1, 10, 50, 90])
@pytest.mark.parametrize("name", ["{}", "customer-{:06}", "2013-03-01/{}/ORD"])
def test_a_canary_gets_its_share_of_the_keys(weight: float, name: str) -> None:
    keys = 20_000
    got = Counter(rollout.pick(with_canary(weight), name.format(number)) for number in range(keys))
    share = weight / 100
    assert abs(got["canary"] - keys * share) < 4.5 * sqrt(keys * share * (1 - share))  # 7e-6 by chance


def test_another_canary_meets_other_keys_first() -> None:
    keys = [str(number) for number in range(2000)]
    first, second = (
        {key for key in keys if rollout.pick(with_canary(10, number), key) == "canary"} for number in (2, 3)
    )
    assert len(first & second) < 60  # 20 expected of 200


def test_rolling_back_leads_to_the_champions_before_in_turn() -> None:
    now = traffic(1, 2, 3)
    back = rollout.with_champion(now, rollout.back_to(now))
    assert (back.champion.number, [one.number for one in back.before]) == (2, [1])
    further = rollout.with_champion(back, rollout.back_to(back))
    assert (further.champion.number, further.before) == (1, [])
    with pytest.raises(NotFound, match="no version as champion before version 1"):
        rollout.back_to(further)
    assert rollout.back_to(now, 1) == version(1)
    with pytest.raises(NotFound, match="no version 7 as champion before version 3; known are 1, 2"):
        rollout.back_to(now, 7)


def test_so_many_champions_are_known() -> None:
    now = traffic(*range(1, 40))
    assert [one.number for one in now.before] == list(range(19, 39))


def test_who_takes_charge_is_canary_and_shadow_no_more() -> None:
    now = rollout.with_shadow(with_canary(10), version(3))
    assert rollout.with_champion(now, version(2)).canary is None
    assert rollout.with_champion(now, version(2)).shadow == version(3)
    assert rollout.with_champion(now, version(3)).shadow is None
    assert rollout.with_canary(now, Canary(deployment=version(3), weight=5)).shadow is None
    assert rollout.without(now, "canary").canary is None
    assert rollout.without(now, "shadow").shadow is None


def test_what_makes_no_sense_is_refused() -> None:
    for weight in (0.0, 100.0, -1.0, float("nan")):
        with pytest.raises(InvalidInput, match="more than 0 and less than 100"):
            with_canary(weight)
    with pytest.raises(Conflict, match="version 1 is the champion"):
        with_canary(10, 1)
    with pytest.raises(Conflict, match="version 2 is the canary"):
        rollout.with_shadow(with_canary(10), version(2))
    with pytest.raises(NotFound, match="has no shadow"):
        rollout.without(with_canary(10), "shadow")
