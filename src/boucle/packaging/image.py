"""A bundle as a container image: the folder that `docker build` gets, and nothing that is not in it.

The image answers on port 8080, as `boucle serve` does, for a user without rights; SageMaker and Vertex AI start it as
it is. What is installed is locked, but for the system below, which `--build-arg BASE=` names.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from boucle.kernel.digests import Digest
from boucle.kernel.errors import Conflict, Refused
from boucle.kernel.paths import make_folder, write_atomic
from boucle.packaging.lock import locked
from boucle.packaging.manifest import read_manifest
from boucle.packaging.naming import check_served_name
from boucle.packaging.records import CODE, BundleManifest
from boucle.packaging.wheel_of_bundle import write_own_wheel

USER_ID: Final = 10001
MODELS: Final = "model"
"""The folder that the bundle lies in, so that it may be called as any other file there is."""
_DOCKERFILE: Final = """\
# Model {name}, bundle {digest}.
# Any image with Python {python} and its venv module will do.
ARG BASE=python:{python}-slim
FROM ${{BASE}}
COPY requirements.txt {wheel} /tmp/boucle/
RUN python3 -m venv /opt/boucle \
    && /opt/boucle/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps \\
        --requirement /tmp/boucle/requirements.txt /tmp/boucle/{wheel} \\
    && /opt/boucle/bin/pip uninstall --yes pip setuptools wheel \\
    && rm -rf /tmp/boucle
{copied}LABEL org.opencontainers.image.title={title} dev.boucle.bundle="{digest}"
ENV PATH=/opt/boucle/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER {user}:{user}
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=2s --start-period=30s CMD ["python3", "-m", "boucle.app.container", "healthy"]
ENTRYPOINT ["python3", "-m", "boucle.app.container"]
CMD ["serve"]
"""


def write_context(
    bundle: Path, digest: Digest, name: str, folder: Path, beside: Mapping[str, bytes] | None = None
) -> Path:
    """Write the folder for `docker build`, which is new or empty, and name it: Dockerfile, lock, wheel, bundle.

    `beside` are signature and attestations, by what follows the bundle folder's name: `.sig`, `.evidence/card.md`.
    Refused for a model that is code: who starts the image would have to say whose code is trusted.
    """
    check_served_name(name, "a model")
    manifest = read_manifest(bundle)
    if any(isinstance(stage, CODE) for stage in manifest.stages):
        raise Refused(
            f"{str(bundle)!r} holds a model that is code; an image is made of models that are data",
            hint="serve it where you say whose code is trusted: boucle serve FOLDER --allow-code --signed-by FILE",
        )
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{str(folder)!r} is not empty", hint="name a new folder")
    was_there = folder.exists()
    make_folder(folder)
    try:
        _fill(folder, bundle, manifest, digest, name, beside or {})
    except BaseException:
        shutil.rmtree(folder)  # half of it would only be in the way of the next try
        if was_there:
            folder.mkdir()
        raise
    return folder


def _fill(
    folder: Path, bundle: Path, manifest: BundleManifest, digest: Digest, name: str, beside: Mapping[str, bytes]
) -> None:
    wheel = write_own_wheel(folder)
    pins = locked(["boucle"], extras=["serve"]) | dict(one.split("==", 1) for one in manifest.environment)
    lines = "".join(f"{package}=={version}\n" for package, version in sorted(pins.items()) if package != "boucle")
    write_atomic(folder / "requirements.txt", lines.encode())
    copied = [one for one in sorted(bundle.rglob("*")) if one.is_file()]
    files = {f"{name}/{one.relative_to(bundle).as_posix()}": one.read_bytes() for one in copied}
    files |= {f"{name}{suffix}": data for suffix, data in beside.items()}
    for path, data in files.items():
        copy = folder / MODELS / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(copy, data)
        copy.chmod(0o644)  # who reads it in the container owns nothing there
    more = sorted({path.partition("/")[0] for path in files} - {name})
    filled = _DOCKERFILE.format(
        name=name,
        digest=digest,
        python=manifest.python,
        wheel=wheel.name,
        user=USER_ID,
        copied="".join(_copy(one) for one in [name, *more]),
        title=f'"{_kept(name)}"',
    )
    write_atomic(folder / "Dockerfile", filled.encode())


def _copy(name: str) -> str:
    """The line that copies a file or folder into the image, in the form that takes any name."""
    pattern = re.sub(r"([*?\[])", r"[\1]", name)  # COPY takes patterns
    words = (_kept(f"{MODELS}/{pattern}"), _kept(f"/opt/ml/model/{name}"))
    return f"COPY {json.dumps(words, ensure_ascii=False)}\n"


def _kept(text: str) -> str:
    """A word of which a Dockerfile takes no sign for a variable or a quote."""
    return re.sub(r"([$'\"])", r"\\\1", text)
