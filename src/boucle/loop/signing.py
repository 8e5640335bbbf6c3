"""The loop signs what it trained, if whoever runs it holds a key that the project's policy names."""

from boucle.governance.api import add_signature, signatures_of
from boucle.identity.api import LOOP
from boucle.kernel import trees
from boucle.kernel.paths import translate
from boucle.models.records import ModelVersion
from boucle.packaging.own_key import own_key
from boucle.project.charge import signers
from boucle.project.context import Context


def sign_if_asked(context: Context, version: ModelVersion) -> None:
    """Sign a version by one's own key (`boucle sign` makes it), where `governance.require_signature` names that key.

    Nothing is done without such a key: then the signature is somebody else's to give. Signed once.
    """
    wanted, file = signers(context), own_key(".pem")
    if not wanted or not file.exists():
        return
    from boucle.packaging.signing import fingerprint, public_pem, read_private, sign

    with translate(file):
        key = read_private(file.read_bytes(), repr(str(file)))
    mine, store = fingerprint(key.public_key()), context.store()
    if mine not in wanted or any(one.key_fingerprint == mine for one in signatures_of(store, version)):
        return
    add_signature(
        store,
        project_id=version.project_id,
        model=version.model,
        number=version.number,
        signature=sign(version.model, trees.entries(store.blobs, version.bundle_digest), key),
        key=public_pem(key.public_key()).decode(),
        actor=LOOP.name,
    )
