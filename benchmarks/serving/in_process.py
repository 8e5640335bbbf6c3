"""Milliseconds that ONNX Runtime takes for a batch in process, the median: `python in_process.py MODEL.onnx TIMES`"""

import statistics
import sys
import time

import onnxruntime

from models import BATCH, table


def main(model: str, times: int) -> float:
    """Ask again and again with one matrix, by one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rows = table(BATCH, texts=False, seed=2)[0].to_numpy()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        session.run(None, {"X": rows})
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


if __name__ == "__main__":
    sys.stdout.write(f"{main(sys.argv[1], int(sys.argv[2]))}\n")
