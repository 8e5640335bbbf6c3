"""Who made a version: all those whose word about it never counts.

Threat model: the author has the version copied by somebody else, or lets another person register what the own run made,
and then approves it. So its authors are whoever registered these files anywhere in the project, and whoever the store
saw making the runs and logged models that they come from, whatever names clients give.
"""

from sqlalchemy import Connection

from boucle.models.origins import versions_of_files
from boucle.models.records import ModelVersion
from boucle.runs.origins import makers


def authors_of(conn: Connection, version: ModelVersion) -> frozenset[str]:
    """Everybody who had a part in making a version."""
    same = [version, *versions_of_files(conn, version.project_id, version.bundle_digest)]
    named = {one for each in same for one in (each.run_id, each.model_id) if one}
    return frozenset(one.author for one in same) | makers(conn, version.project_id, named)
