"""Canary and shadow at an endpoint: who answers, what is logged, and that a shadow never shows."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.packaging.bundle import Predictor
from boucle.serving.deploy import deploy_canary, deploy_shadow, written_out
from boucle.serving.endpoint import Answer, Endpoint
from boucle.serving.prediction_log import read_frames
from boucle.serving.question import Question
from boucle.serving.records import PredictionFrame
from boucle.serving.rollout import pick
from boucle.serving.shadow import MOST_BYTES, Mirror, Mirrored
from boucle.serving.traffic import log_folder, read_ack, serving_root

Deploy = Callable[..., Any]


@pytest.fixture
def endpoint(store: Store, deployer: Deploy) -> Iterator[Endpoint]:
    """Version 1 in charge."""
    deployer(1)
    endpoint = Endpoint(store.home, "flights", clock=store.clock)
    endpoint.refresh()
    yield endpoint
    endpoint.close()


def ask(endpoint: Endpoint, request_id: str, key: str | int | None = None, number: str | None = None) -> Answer:
    columns: dict[str, Any] = {"carrier": ["AA"], "temp": [80.0]}
    if key is not None:
        columns["flight_id"] = [key]
    return asyncio.run(endpoint.ask(Question(columns, request_id), number))


def frames(store: Store, endpoint: Endpoint) -> list[PredictionFrame]:
    endpoint.close()
    return [frame for frame, _ in read_frames(log_folder(store.home, "flights"))]


def test_a_canary_answers_its_keys_and_is_logged_as_one(store: Store, endpoint: Endpoint, deployer: Deploy) -> None:
    other = written_out(store, 2, deployer.keep(1.0), project_id="flights", endpoint="flights")  # type: ignore[attr-defined]
    traffic = deploy_canary(store, "flights", other, project_id="flights", weight=30.0)
    endpoint.refresh()
    assert endpoint.versions() == [1, 2]
    for turn in range(2):
        for key in range(40):
            expected = 2 if pick(traffic, f"flight-{key}") == "canary" else 1
            assert ask(endpoint, f"{turn}/{key}", f"flight-{key}").number == expected
    assert ask(endpoint, "by number", number="2").number == 2
    logged = frames(store, endpoint)
    assert {(frame.number, frame.role) for frame in logged} == {(1, "champion"), (2, "canary")}


def test_a_key_that_is_a_number_meets_the_version_that_its_text_meets(
    store: Store, endpoint: Endpoint, deployer: Deploy
) -> None:
    other = written_out(store, 2, deployer.keep(1.0), project_id="flights", endpoint="flights")  # type: ignore[attr-defined]
    deploy_canary(store, "flights", other, project_id="flights", weight=50.0)
    endpoint.refresh()
    met = [ask(endpoint, f"number/{key}", key).number for key in range(40)]
    assert set(met) == {1, 2}
    assert [ask(endpoint, f"text/{key}", str(key)).number for key in range(40)] == met


def test_a_canary_with_other_columns_is_refused(
    store: Store, bundles: ModuleType, monkeypatch: pytest.MonkeyPatch, deployer: Deploy
) -> None:
    deployer(1)
    fewer = replace(bundles.SIGNATURE, outputs=bundles.SIGNATURE.outputs[:1])
    monkeypatch.setattr(bundles, "SIGNATURE", fewer)
    other = written_out(store, 2, deployer.keep(2.0), project_id="flights", endpoint="flights")  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match=r"version 2 has other outputs than version 1.*they differ in label"):
        deploy_canary(store, "flights", other, project_id="flights", weight=10.0)


def test_a_shadow_is_asked_compared_and_logged(
    store: Store, endpoint: Endpoint, deployer: Deploy, bundles: ModuleType
) -> None:
    deploy_shadow(
        store,
        "flights",
        written_out(store, 2, deployer.keep(1.0), project_id="flights", endpoint="flights"),
        project_id="flights",
    )  # type: ignore[attr-defined]
    endpoint.refresh()
    assert endpoint.versions() == [1]
    assert ask(endpoint, "one").number == 1
    answered, shadowed = sorted(frames(store, endpoint), key=lambda frame: frame.role)
    assert (answered.role, answered.number, answered.compared) == ("champion", 1, None)
    assert (shadowed.role, shadowed.number, shadowed.request_id) == ("shadow", 2, "one")
    assert shadowed.outputs["probability"] == pytest.approx([bundles.probability("AA", 80.0, 1.0)])
    compared = shadowed.compared
    assert compared is not None
    apart = bundles.probability("AA", 80.0, 1.0) - bundles.probability("AA", 80.0)
    assert (compared.number, compared.differing_rows) == (1, 1)
    assert compared.largest_difference == pytest.approx(apart)


def test_a_shadow_that_cannot_be_loaded_keeps_nobody_from_answering(
    store: Store, endpoint: Endpoint, deployer: Deploy
) -> None:
    shadow = written_out(store, 2, deployer.keep(1.0), project_id="flights", endpoint="flights")  # type: ignore[attr-defined]
    (serving_root(store.home) / shadow.path / "model.treelite").unlink()
    traffic = deploy_shadow(store, "flights", shadow, project_id="flights")
    endpoint.refresh()
    ack = read_ack(store.home, "flights")
    assert ack is not None
    assert (ack.generation, ack.error) == (traffic.generation, None)
    assert "version 2 should be the bundle" in (ack.shadow_error or "")
    assert ask(endpoint, "one").number == 1


def test_a_shadow_that_fails_shows_to_nobody(store: Store, endpoint: Endpoint, deployer: Deploy) -> None:
    deploy_shadow(
        store,
        "flights",
        written_out(store, 2, deployer.keep(1.0), project_id="flights", endpoint="flights"),
        project_id="flights",
    )  # type: ignore[attr-defined]
    endpoint.refresh()
    lineup = endpoint.lineup
    assert lineup is not None
    assert lineup.shadow is not None
    lineup.shadow.predictor = Predictor.__new__(Predictor)  # nothing in it, so that whatever is asked raises
    for number in range(400):
        assert ask(endpoint, str(number)).number == 1
    assert [frame.role for frame in frames(store, endpoint)] == ["champion"] * 400
    answered, _, failed, passed_over = endpoint.shadow_totals()
    assert (answered, failed + passed_over) == (0, 400)


def test_what_waits_for_a_shadow_is_bounded_in_bytes(store: Store, endpoint: Endpoint, deployer: Deploy) -> None:
    deploy_shadow(
        store,
        "flights",
        written_out(store, 2, deployer.keep(1.0), project_id="flights", endpoint="flights"),
        project_id="flights",
    )  # type: ignore[attr-defined]
    endpoint.refresh()
    lineup = endpoint.lineup
    assert lineup is not None
    assert lineup.shadow is not None
    begun, may_go_on, kept = threading.Event(), threading.Event(), []

    def keep(mirrored: Mirrored, *_: Any) -> None:
        begun.set()
        assert may_go_on.wait(30)
        kept.append(mirrored.question.request_id)

    mirror = Mirror(endpoint.models, keep, max_rows=100_000)

    def shown(name: str, text: str, rows: int) -> Mirrored:
        question = Question({"carrier": [text] * rows, "temp": [80.0] * rows}, name)
        outputs = {"probability": np.zeros(rows), "label": ["late"] * rows}
        assert lineup is not None
        assert lineup.shadow is not None
        return Mirrored(question, 1, lineup.champion.predictor.signature, outputs, lineup.shadow)  # type: ignore[union-attr]

    large = shown("large", "x" * 60_000, 2_000)
    assert large.size_bytes > MOST_BYTES, "one that is larger than the bound is shown where nothing waits"
    mirror.show(large)
    assert begun.wait(30)
    mirror.show(shown("passed over", "AA", 1))
    may_go_on.set()
    mirror.close(30)
    assert kept == ["large"]
    assert list(mirror.counts) == [1, 2_000, 0, 1]
