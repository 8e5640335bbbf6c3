"""Bodies that MLflow's doors refuse cost little."""

import tracemalloc

import pytest

from boucle.kernel.errors import InvalidInput
from boucle.protocols.mlflow.messages import decode
from boucle.protocols.mlflow.runs import UpdateRun


@pytest.mark.parametrize("more", [b"[]", b"null"])
def test_a_long_body_of_wrong_types_is_refused_without_being_read_again(more: bytes) -> None:
    body = b'{"run_id":1,"x":[' + b",".join([more] * 500_000) + b"]}"
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match="Expected `str`, got `int`"):
            decode(body, UpdateRun)
        assert tracemalloc.get_traced_memory()[1] < len(body)
    finally:
        tracemalloc.stop()
