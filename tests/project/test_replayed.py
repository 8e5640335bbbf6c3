"""What a project is told that says too little to replay."""

from datetime import date

import pytest
from msgspec.structs import replace

from boucle.kernel.errors import InvalidInput
from boucle.project.replayed import replay_plan
from boucle.project.yaml_file import parse_project

TEXT = """\
project: sweets
data: {source: table.csv, target: good, features: {numeric: [sugar]}}
"""


def test_columns_are_asked_for_before_the_days() -> None:
    with pytest.raises(InvalidInput, match=r"missing: data\.time, data\.key") as caught:
        replay_plan(parse_project(TEXT, "boucle.yaml"))
    assert caught.value.hint == "name in boucle.yaml, under `data`: `time: COLUMN`, `key: COLUMN`; then: boucle check"


def test_the_days_to_replay_begin_where_the_training_ends() -> None:
    project = parse_project(TEXT.replace("good,", "good, time: at, key: id,"), "boucle.yaml")
    with pytest.raises(InvalidInput, match="no `replay` section") as caught:
        replay_plan(project)
    asked = "add `replay: {first: DAY, last: DAY}` to boucle.yaml with days that the data cover"
    assert caught.value.hint == asked
    project = replace(project, training=replace(project.training, until=date(2020, 5, 1)))
    with pytest.raises(InvalidInput) as caught:
        replay_plan(project)
    assert caught.value.hint == f"{asked}, from 2020-05-01 on"
