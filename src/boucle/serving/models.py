"""The models of a worker: opened when they are needed, let go when memory is short.

Imported by the worker: the bundle reader, no database and no training library.
"""

import threading
from pathlib import Path
from weakref import WeakValueDictionary

from msgspec.structs import replace

from boucle.kernel import trees
from boucle.kernel.digests import short
from boucle.kernel.errors import Damaged, NotFound
from boucle.kernel.paths import inside, translate
from boucle.packaging.bundle import Predictor, open_bundle, opened_manifest
from boucle.packaging.records import CODE, Signature
from boucle.packaging.trust import Trust, refuse_code
from boucle.serving.code_messages import Begin
from boucle.serving.code_process import CodePredictor
from boucle.serving.records import Deployment
from boucle.serving.traffic import signature_of
from boucle.serving.warming import warm


class Model:
    """One deployed bundle: what it takes and answers is known at once, the predictor while it is loaded."""

    __slots__ = ("__weakref__", "_signature", "deployment", "loading", "predictor", "size_bytes", "used")

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.predictor: Predictor | CodePredictor | None = None
        self.loading = threading.Lock()
        self.size_bytes = 0
        self.used = 0
        """When it was asked last, by a count that only grows."""
        self._signature: Signature | None = None

    @property
    def number(self) -> int:
        """Of the model version."""
        return self.deployment.number


class Models:
    """Opens bundles below a serving root. Safe for threads.

    `most_bytes` bounds the files of those that are loaded at once: beyond it those that were not asked for longest are
    let go, and are loaded again when they are asked. The one that is asked is loaded, however large it is. What `trust`
    does not allow is not opened. A model that is code is loaded in a process of its own, never here.
    """

    def __init__(self, root: Path, *, most_bytes: int | None = None, trust: Trust | None = None) -> None:
        self._root = root
        self._trust = trust or Trust()
        self._most_bytes = most_bytes
        self._known: WeakValueDictionary[Deployment, Model] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._asked = 0
        self.evicted = 0

    def of(self, deployment: Deployment) -> Model:
        """The model of a deployment: the same one, loaded or not, for as long as anybody has it."""
        with self._lock:
            model = self._known.get(deployment)
            if model is None:
                model = self._known[deployment] = Model(deployment)
            return model

    def ask(self, model: Model) -> Predictor | CodePredictor | None:
        """Its predictor, noting that it is asked; None if it must be loaded first."""
        self._asked = model.used = self._asked + 1
        return model.predictor

    def signature(self, model: Model) -> Signature:
        """What a model takes and answers; loads nothing but its manifest."""
        if model._signature is None:
            trust, signature = self._trusted(model.deployment)
            model._signature = opened_manifest(self._folder(model), trust, signature).signature
        return model._signature

    def load(self, model: Model) -> Predictor | CodePredictor:
        """Its predictor. Damaged if its files are not those that were deployed, NotFound if they are gone.

        Where a policy asks for a signature: Refused if what is loaded is not what was signed.
        """
        with model.loading:
            if model.predictor is not None:
                return model.predictor
            folder, deployment = self._folder(model), model.deployment
            with translate(folder):
                found = trees.digest_folder(folder)
                model.size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            if found != deployment.bundle_digest:
                raise Damaged(
                    f"version {deployment.number} should be the bundle {short(deployment.bundle_digest)}, "
                    f"its folder {str(folder)!r} holds {short(found)}"
                )
            return self._opened(model, folder)

    def close(self) -> None:
        """End the processes of models that are code."""
        for model in self.loaded():
            if isinstance(model.predictor, CodePredictor):
                model.predictor.end()

    def _opened(self, model: Model, folder: Path) -> Predictor | CodePredictor:
        trust, signature = self._trusted(model.deployment)
        manifest = opened_manifest(folder, trust, signature)
        if any(isinstance(stage, CODE) for stage in manifest.stages):
            refuse_code(manifest, trust, folder)
            with self._lock:
                self._make_room(model.size_bytes)
            begin = Begin(str(folder), trust.keys, None if signature is None else str(signature))
            aside = CodePredictor(manifest, begin, f"the model of version {model.number}")
            with self._lock:
                return self._taken_in(model, aside)
        with self._lock:  # one at a time: what a model needs while it is opened is no more than one needs
            self._make_room(model.size_bytes)
            predictor = open_bundle(folder, replace(trust, allow_code=False), signature)
            warm(predictor)
            return self._taken_in(model, predictor)

    def _taken_in(self, model: Model, predictor: Predictor | CodePredictor) -> Predictor | CodePredictor:
        self._asked = model.used = self._asked + 1
        model._signature, model.predictor = predictor.signature, predictor
        return predictor

    def loaded(self) -> list[Model]:
        """Those that are loaded, the one that was not asked for longest first."""
        return sorted((one for one in self._known.values() if one.predictor is not None), key=lambda one: one.used)

    def _make_room(self, size_bytes: int) -> None:
        if self._most_bytes is None:
            return
        loaded = self.loaded()
        in_use = sum(one.size_bytes for one in loaded)
        for one in loaded:
            if in_use + size_bytes <= self._most_bytes:
                return
            one.predictor = None  # whoever is being answered by it keeps it until then
            self.evicted += 1
            in_use -= one.size_bytes

    def _trusted(self, deployment: Deployment) -> tuple[Trust, Path | None]:
        """Whose signature counts for a deployment, and the file that it is in, unless that lies beside the bundle."""
        if deployment.signer is None:
            return self._trust, None
        return replace(self._trust, keys=[deployment.signer]), signature_of(self._root, deployment)

    def _folder(self, model: Model) -> Path:
        folder = inside(self._root, model.deployment.path)
        if not folder.is_dir():
            raise NotFound(f"version {model.number} has no folder {str(folder)!r}")
        return folder
