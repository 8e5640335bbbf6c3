"""The limit of this design: Granian and ONNX Runtime, the payload parsed, nothing else. `bare.py MODEL.onnx PORT`

No validation, no log, no metrics, no batching: what any server on these two would cost at least.
"""

import sys
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
from granian import Granian
from granian.constants import Interfaces


class Tensor(msgspec.Struct):
    """An input as it comes."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float | str | None]


class Asked(msgspec.Struct):
    """A request of the Open Inference Protocol V2."""

    inputs: list[Tensor]
    id: str = ""


class App:
    """Parses, asks, answers."""

    def __init__(self, model: str) -> None:
        self._model = model

    def __rsgi_init__(self, _loop: object) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
        self._inputs = [(one.name, one.type, one.shape[1]) for one in self._session.get_inputs()]
        self._outputs = [one.name for one in self._session.get_outputs()]
        self._read = msgspec.json.Decoder(Asked).decode
        self._write = msgspec.json.Encoder().encode

    def _fed(self, tensors: list[Tensor]) -> dict[str, np.ndarray]:
        if len(self._inputs) == 1:  # one matrix of all columns
            return {self._inputs[0][0]: np.array([[one.data[0] for one in tensors]])}
        kinds = {"tensor(float)": np.float32, "tensor(string)": object}
        by_name = {one.name: one.data for one in tensors}
        return {name: np.array([by_name[name]], dtype=kinds[kind]).reshape(-1, 1) for name, kind, _ in self._inputs}

    async def __rsgi__(self, scope: object, protocol: object) -> None:
        if scope.method == "GET":
            protocol.response_bytes(200, [("content-type", "application/json")], b"{}")
            return
        asked = self._read(await protocol())
        answer = self._session.run(self._outputs, self._fed(asked.inputs))
        if len(answer) == 1:  # Boucle's own graph, which leaves the label to whoever asks
            probability = float(answer[0][0][0])
            label = "1" if probability >= 0.5 else "0"
        else:
            label, probability = str(answer[0][0]), float(answer[1][0][1])
        body = {
            "model_name": "bench",
            "id": asked.id,
            "outputs": [
                {"name": "probability", "shape": [1], "datatype": "FP64", "data": [probability]},
                {"name": "label", "shape": [1], "datatype": "BYTES", "data": [label]},
            ],
        }
        protocol.response_bytes(200, [("content-type", "application/json")], self._write(body))


app = App(str(Path(sys.argv[1]).resolve()))

if __name__ == "__main__":
    Granian("bare:app", "127.0.0.1", int(sys.argv[2]), interface=Interfaces.RSGI, log_enabled=False).serve()
