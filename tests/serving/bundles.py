"""A bundle small enough to know its answers by heart, without fitting anything.

probability = sigmoid(margin), margin = +2 if carrier is UA else -1 (AA, unseen, missing), +1 more if temp > 70
"""

import math
from pathlib import Path

from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

from boucle.kernel.digests import canonical_json, digest_bytes
from boucle.packaging.records import (
    BundleManifest,
    EncodeStage,
    Input,
    Output,
    Parity,
    PostStage,
    Signature,
    TreeliteStage,
)

SIGNATURE = Signature(
    task="binary",
    inputs=[
        Input(name="carrier", kind="category", nullable=True, categories=["AA", "UA"]),
        Input(name="temp", kind="number", nullable=True, minimum=10.0, maximum=100.0),
    ],
    outputs=[Output(name="probability", datatype="FP64"), Output(name="label", datatype="BYTES")],
    classes=["on time", "late"],
    threshold=0.5,
    key="flight_id",
    time="scheduled_at",
)


def probability(carrier: str | None, temp: float | None, lift: float = 0.0) -> float:
    """What the bundle answers, by hand."""
    margin = (2.0 if carrier == "UA" else -1.0) + (1.0 if temp is not None and temp > 70.0 else 0.0) + lift
    return 1.0 / (1.0 + math.exp(-margin))


def write_bundle(
    folder: Path, lift: float = 0.0, *, signature: Signature | None = None, unseen: float | None = None
) -> Path:
    """Write the bundle; another `lift` makes another bundle with other answers."""
    model = _forest(lift)
    manifest = BundleManifest(
        format=2,
        stages=[
            EncodeStage(unseen=unseen),
            TreeliteStage(file="model.treelite", margins=False),
            PostStage(link="identity"),
        ],
        signature=signature or SIGNATURE,
        parity=Parity(
            compiler="treelite",
            tolerance=1e-9,
            held_out_rows=10,
            generated_rows=10,
            largest_difference=1e-15,
            label_flips=0,
            worst="held out",
        ),
        params={"lift": lift},
        environment=["treelite==4.8.1"],
        python="3.11",
        files={"model.treelite": digest_bytes(model)},
        framework="by hand",
    )
    folder.mkdir(parents=True)
    (folder / "boucle.json").write_bytes(canonical_json(manifest))
    (folder / "model.treelite").write_bytes(model)
    return folder


def _forest(lift: float) -> bytes:
    builder = ModelBuilder(
        threshold_type="float64",
        leaf_output_type="float64",
        metadata=Metadata(
            num_feature=2,
            task_type="kBinaryClf",
            average_tree_output=False,
            num_target=1,
            num_class=[1],
            leaf_vector_shape=(1, 1),
        ),
        tree_annotation=TreeAnnotation(num_tree=2, target_id=[0, 0], class_id=[0, 0]),
        postprocessor=PostProcessorFunc(name="sigmoid"),
        base_scores=[lift],
    )
    for split, left, right in (("carrier", -1.0, 2.0), ("temp", 0.0, 1.0)):
        builder.start_tree()
        builder.start_node(0)
        if split == "carrier":
            builder.categorical_test(
                0,
                default_left=True,
                category_list=[1],
                category_list_right_child=True,
                left_child_key=1,
                right_child_key=2,
            )
        else:
            builder.numerical_test(1, 70.0, default_left=True, opname="<=", left_child_key=1, right_child_key=2)
        builder.end_node()
        for key, value in ((1, left), (2, right)):
            builder.start_node(key)
            builder.leaf(value)
            builder.end_node()
        builder.end_tree()
    return builder.commit().serialize_bytes()
