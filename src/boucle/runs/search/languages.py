"""What may be said in filters and orders of experiments, runs and logged models."""

from typing import Final

from boucle.kernel.search.records import LISTS, NUMERIC, PRESENCE, TEXT, Language, Subject

_TEXT: Final = Subject(TEXT)
_LISTED: Final = Subject((*TEXT, *LISTS))
_NOTED: Final = Subject((*TEXT, *PRESENCE))
_NUMBER: Final = Subject(NUMERIC, "number")
_WHOLE: Final = Subject(NUMERIC, "integer")

EXPERIMENTS: Final = Language(
    noun="experiments",
    attributes={
        "name": _TEXT,
        "experiment_id": Subject(("=", "!=", *LISTS)),
        "creation_time": _WHOLE,
        "last_update_time": _WHOLE,
    },
    families={"tag": Subject((*TEXT, *PRESENCE), ordered=False)},
)

RUNS: Final = Language(
    noun="runs",
    attributes={
        "run_id": _LISTED,
        "run_name": _TEXT,
        "status": _TEXT,
        "user_id": _TEXT,
        "artifact_uri": _TEXT,
        "start_time": _NUMBER,
        "end_time": _NUMBER,
    },
    families={
        "metric": _NUMBER,
        "param": _NOTED,
        "tag": _NOTED,
        "dataset": Subject((*TEXT, *LISTS), ordered=False),
    },
    synonyms={
        **dict.fromkeys(("created", "Created"), "start_time"),
        **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name"),
    },
    dataset_keys=("name", "digest", "context"),
)

LOGGED_MODELS: Final = Language(
    noun="logged models",
    attributes={
        **dict.fromkeys(("name", "model_id", "model_type", "status", "source_run_id", "experiment_id"), _LISTED),
        **dict.fromkeys(("creation_timestamp", "last_updated_timestamp"), _NUMBER),
    },
    families={
        "metric": _NUMBER,
        "param": Subject((*TEXT, *LISTS, *PRESENCE), ordered=False),
        "tag": Subject((*TEXT, *LISTS, *PRESENCE), ordered=False),
    },
    synonyms={
        **dict.fromkeys(("creation_time", "creation_timestamp_ms"), "creation_timestamp"),
        **dict.fromkeys(("last_updated_time", "last_updated_timestamp_ms"), "last_updated_timestamp"),
    },
    bare_numbers=True,
)
