"""What may be said in filters and orders of registered models and of their versions."""

from typing import Final

from boucle.kernel.search.records import LISTS, NUMERIC, PRESENCE, TEXT, Language, Subject

_TAG: Final = Subject((*TEXT, *PRESENCE), ordered=False)
_MOMENT: Final = Subject((), "integer")

REGISTERED_MODELS: Final = Language(
    noun="registered models",
    attributes={
        "name": Subject((*TEXT, *LISTS)),
        "creation_timestamp": _MOMENT,
        "last_updated_timestamp": _MOMENT,
    },
    families={"tag": _TAG},
    synonyms={"timestamp": "last_updated_timestamp"},
)

MODEL_VERSIONS: Final = Language(
    noun="model versions",
    attributes={
        "name": Subject((*TEXT, *LISTS)),
        "version_number": Subject(NUMERIC, "integer"),
        "run_id": Subject((*TEXT, *LISTS), ordered=False),
        "source_path": Subject(TEXT, ordered=False),
        "creation_timestamp": _MOMENT,
        "last_updated_timestamp": _MOMENT,
    },
    families={"tag": _TAG},
    synonyms={"timestamp": "last_updated_timestamp"},
)
