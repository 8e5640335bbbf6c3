"""Run where Keras is: makes bundles of models that TensorFlow or PyTorch computes, and notes what they answer.

build/tensorflow/bin/python tests/frameworks/keras_models.py FOLDER
KERAS_BACKEND=torch build/torch/bin/python tests/frameworks/keras_models.py FOLDER
"""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(folder: Path) -> None:
    """A folder for each model, with `bundle` and `expected.npz`; what was refused is in `refused.json`."""
    import keras
    import numpy as np
    import pandas as pd
    from keras import layers
    from sklearn.datasets import load_breast_cancer, load_digits

    import boucle
    from boucle.kernel.errors import BoucleError

    keras.utils.set_random_seed(0)

    def keep(name: str, model: Any, sample: Any, rows: Any, given: Any = None, **options: Any) -> None:
        boucle.bundle(model if given is None else given, sample=sample, path=folder / name / "bundle", **options)
        np.savez(folder / name / "expected.npz", rows=rows, values=model.predict(rows, verbose=0))

    # a table, one probability
    data = load_breast_cancer()
    table = pd.DataFrame(data.data, columns=[name.replace(" ", "_") for name in data.feature_names])
    given = keras.Input((30,))
    hidden = layers.Dense(16, activation="relu")(layers.BatchNormalization()(given))
    model = keras.Model(given, layers.Dense(1, activation="sigmoid")(layers.Dropout(0.3)(hidden)))
    model.compile("adam", "binary_crossentropy")
    rows = table.to_numpy().astype("float32")
    model.fit(rows[:400], data.target[:400], epochs=15, verbose=0)
    keep("table", model, table[400:], rows[400:], classes=["malignant", "benign"])

    # images of digits, probabilities
    digits = load_digits()
    images = (digits.images[..., None] / 16).astype("float32")
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile("adam", "sparse_categorical_crossentropy")
    network.fit(images[:1400], digits.target[:1400], epochs=3, verbose=0)
    keep("digits", network, images[1400:1600], images[1600:], classes=[str(one) for one in range(10)])

    # series, one value
    series = np.random.default_rng(1).normal(size=(300, 10, 3)).astype("float32")
    memory = keras.Sequential([keras.Input((10, 3)), layers.GRU(12), layers.Dense(1)])
    keep("series", memory, series[:100], series[100:200])

    if keras.backend.backend() == "tensorflow":
        network.export(folder / "saved", format="tf_saved_model", verbose=False)
        keep(
            "saved_model",
            network,
            images[1400:1600],
            images[1600:],
            given=str(folder / "saved"),
            classes=[str(one) for one in range(10)],
            saved_model=folder / "serving" / "1",
        )
        keep_as_code(keras, folder)

    two = keras.Input((4,)), keras.Input((4,))
    words = keras.Input((4,), dtype="int32")
    refused: dict[str, str] = {}
    for name, odd in {
        "two inputs": keras.Model(two, layers.Add()(two)),
        "words": keras.Model(words, layers.Embedding(10, 1)(words)),
        "chance": keras.Sequential([keras.Input((4,)), Noise(keras)]),
    }.items():
        try:
            boucle.bundle(odd, sample=np.ones((20, 4), dtype="float32"), path=folder / "refused")
        except BoucleError as error:
            refused[name] = f"{error.code}: {error.message}"
    (folder / "refused.json").write_text(json.dumps(refused))


def keep_as_code(keras: Any, folder: Path) -> None:
    """A model with an operation that ONNX has not is kept as it is; and what was saved beside answers alike."""
    import numpy as np
    import tensorflow as tf

    import boucle

    class Bessel(keras.layers.Layer):  # type: ignore[misc]
        def call(self, given: Any) -> Any:
            return tf.math.bessel_i0(given)

    rows = np.random.default_rng(2).normal(size=(40, 4)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), Bessel(), keras.layers.Dense(2)])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        boucle.bundle(model, sample=rows, path=folder / "kept" / "bessel", keep_code=True)
    assert any("kept as it is, as code" in str(one.message) for one in told)
    np.savez(folder / "kept" / "answers.npz", rows=rows, values=model.predict(rows, verbose=0))
    ours = tf.saved_model.load(str(folder / "serving" / "1")).signatures["serving_default"]
    theirs = tf.saved_model.load(str(folder / "saved")).signatures["serving_default"]
    images = tf.random.uniform((5, 8, 8, 1))
    ((one,), (other,)) = (signature(image=images).values() for signature in (ours, theirs))
    assert np.array_equal(one, other)


def Noise(keras: Any) -> Any:  # noqa: N802 - a layer
    """A layer that answers by chance, in use too."""

    class Made(keras.layers.Layer):  # type: ignore[misc]
        def call(self, given: Any) -> Any:
            return given + keras.random.normal(keras.ops.shape(given))

    return Made()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
