"""Artifacts of every kind: up, list, down, delete."""

# ruff: noqa: E501 - a call a line, so that the scenes read as tables
# fmt: off
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pandas as pd

import mlflow
from mlflow import MlflowClient

BIG = 200 << 20


def play(see):
    client = MlflowClient()
    exp = see.mask(mlflow.set_experiment("artifacts").experiment_id, "exp")
    with mlflow.start_run() as run:
        one = run.info.run_id
        see("nothing yet", client.list_artifacts, one)
        Path("a.txt").write_text("hello")
        Path("empty.bin").write_bytes(b"")
        Path("tree/sub/deep").mkdir(parents=True)
        for number in range(5):
            Path(f"tree/sub/f{number}.bin").write_bytes(bytes([number]) * number * 1000)
        Path("tree/sub/deep/é 表 %41+&#?.txt").write_text("odd")
        Path("tree/top.json").write_text("{}")
        see("file", mlflow.log_artifact, "a.txt")
        see("file in a folder", mlflow.log_artifact, "a.txt", "some/where")
        see("empty file", mlflow.log_artifact, "empty.bin")
        see("file that is not there", mlflow.log_artifact, "none.txt")
        see("folder", mlflow.log_artifacts, "tree", "trees")
        see("folder as an artifact", mlflow.log_artifact, "tree", "whole")
        see("text", mlflow.log_text, "some text é", "texts/t.txt")
        see("html", mlflow.log_text, "<b>x</b>", "texts/t.html")
        see("dict", mlflow.log_dict, {"a": [1, 2]}, "d.json")
        see("dict as yaml", mlflow.log_dict, {"a": [1, 2]}, "d.yaml")
        see("figure", lambda: mlflow.log_figure(_figure(), "figures/f.png"))
        see("image", mlflow.log_image, np.zeros((8, 8, 3), dtype=np.uint8), "images/i.png")
        see("image with a key", mlflow.log_image, np.ones((8, 8, 3), dtype=np.uint8), key="dogs", step=3, timestamp=1234567)
        see("float image", mlflow.log_image, np.linspace(0, 1, 64).reshape(8, 8), "images/float.png")
        see("table", mlflow.log_table, {"q": ["a", "b"], "n": [1, 2]}, "tab.json")
        see("more rows", mlflow.log_table, pd.DataFrame({"q": ["c"], "n": [3]}), "tab.json")
        see("parquet table", mlflow.log_table, pd.DataFrame({"q": ["c"], "n": [3]}), "tab.parquet")
        see("rewrite", mlflow.log_text, "newer", "a.txt")
        see("stream", lambda: mlflow.log_stream(io.BytesIO(b"streamed"), "streamed.txt"))
    see("tags of the run", lambda: {k: v for k, v in client.get_run(one).data.tags.items() if k.startswith("mlflow.logged")})
    for path in (None, "trees", "trees/sub", "trees/sub/deep", "a.txt", "nowhere", "figures", "texts/", "images"):
        see(f"list {path}", client.list_artifacts, one, path)
    for path in ("..", "../..", "a/../../b", "/etc", "trees/./sub", "%2e%2e", "..%2f..", "C:\\", "trees\\sub", "\x00", "a\nb"):
        see(f"list odd {path!r}", client.list_artifacts, one, path)
    see("down a file", lambda: Path(mlflow.artifacts.download_artifacts(run_id=one, artifact_path="a.txt")).read_text())
    see("down a folder", lambda: _digests(mlflow.artifacts.download_artifacts(run_id=one, artifact_path="trees", dst_path="down1")))
    see("down all", lambda: len(_digests(client.download_artifacts(one, "", _made("down2")))))
    see("down by runs:/", lambda: _digests(mlflow.artifacts.download_artifacts(f"runs:/{one}/some", dst_path=_made("down3"))))
    see("down by uri", lambda: _digests(mlflow.artifacts.download_artifacts(f"mlflow-artifacts:/{run.info.experiment_id}/{one}/artifacts/texts")))
    see("down none such", lambda: mlflow.artifacts.download_artifacts(run_id=one, artifact_path="none.txt"))
    see("down of no run", lambda: mlflow.artifacts.download_artifacts(run_id="0" * 32, artifact_path="a.txt"))
    see("load_text", lambda: mlflow.artifacts.load_text(f"runs:/{one}/texts/t.txt"))
    see("load_dict", lambda: mlflow.artifacts.load_dict(f"runs:/{one}/d.json"))
    see("load_image", lambda: mlflow.artifacts.load_image(f"runs:/{one}/images/i.png").size)
    see("load_table", lambda: mlflow.load_table("tab.json", run_ids=[one]).to_dict("list"))
    see("load_table with columns", lambda: mlflow.load_table("tab.json", extra_columns=["run_id"]).shape)
    see("load_table parquet", lambda: mlflow.load_table("tab.parquet", run_ids=[one]).to_dict("list"))
    see("load_table none", lambda: mlflow.load_table("none.json"))
    see("list by mlflow.artifacts", lambda: [f.path for f in mlflow.artifacts.list_artifacts(run_id=one, artifact_path="trees")])
    store = mlflow.store.artifact.artifact_repository_registry.get_artifact_repository(run.info.artifact_uri)
    see("delete a file", store.delete_artifacts, "a.txt")
    see("delete a folder", store.delete_artifacts, "trees/sub")
    see("delete none such", store.delete_artifacts, "nothing/here")
    see("after deletes", lambda: [[f.path for f in client.list_artifacts(one, path)] for path in (None, "trees")])
    see("to a deleted run", lambda: (client.delete_run(one), client.log_text(one, "x", "late.txt"))[1])
    see("from a deleted run", lambda: [f.path for f in client.list_artifacts(one, "texts")])
    client.restore_run(one)
    see("many files", lambda: _many(client, one))
    see("big", lambda: _big(client, one))
    del exp


def _figure():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(1, 1))
    axes.plot([1, 2])
    return figure


def _made(name):
    Path(name).mkdir()
    return name


def _digests(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def _many(client, run):
    Path("many").mkdir()
    for number in range(120):
        Path(f"many/{number}.txt").write_text(str(number))
    client.log_artifacts(run, "many", "many")
    return len(client.list_artifacts(run, "many"))


def _big(client, run):
    block = os.urandom(1 << 20)
    with Path("big.bin").open("wb") as file:
        for _ in range(BIG >> 20):
            file.write(block)
    client.log_artifact(run, "big.bin", "big")
    Path("back").mkdir()
    back = Path(client.download_artifacts(run, "big/big.bin", "back"))
    with Path("big.bin").open("rb") as sent, back.open("rb") as got:
        return [[f.file_size for f in client.list_artifacts(run, "big")], hashlib.file_digest(sent, "sha256").hexdigest() == hashlib.file_digest(got, "sha256").hexdigest()]
