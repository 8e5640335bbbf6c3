"""The bill of materials of a model: CycloneDX 1.6 with `machine-learning-model`, https://cyclonedx.org/docs/1.6/json/.

Model card, data, locked packages and files, each with its digest. What persons did not say is left out here.
"""

import uuid
from importlib.metadata import version as installed
from typing import Any, Final

from boucle.governance.claims.facts import Facts
from boucle.kernel.digests import Digest

BOM_TYPE: Final = "https://cyclonedx.org/bom"
"""The type of a statement that holds such a bill, as in-toto's list of predicates has it."""


def ml_bom(facts: Facts) -> dict[str, Any]:
    """The bill as CycloneDX's JSON. Its serial number and its moment are the version's, not those of asking."""
    version = facts.version
    model, data, packages = _model(facts), _data(facts), _packages(facts)
    needs = [one["bom-ref"] for one in (*data, *packages)]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"{version.project_id}/{version.model}/{version.number}")
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": version.created_at.isoformat(),
            "tools": {"components": [{"type": "application", "name": "boucle", "version": installed("boucle")}]},
            "component": model,
        },
        "components": [*data, *packages],
        "dependencies": [
            {"ref": model["bom-ref"], "dependsOn": needs},
            *({"ref": one, "dependsOn": []} for one in needs),
        ],
    }


def _model(facts: Facts) -> dict[str, Any]:
    version = facts.version
    description = facts.human.get("description")
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{version.bundle_digest}",
        "name": version.model,
        "version": str(version.number),
        **({"description": description} if description else {}),
        "hashes": _hashes(version.bundle_digest),
        "modelCard": _card(facts),
        "components": [
            {"type": "file", "bom-ref": f"file:{one.path}", "name": one.path, "hashes": _hashes(one.digest)}
            for one in facts.files
        ],
    }


def _card(facts: Facts) -> dict[str, Any]:
    parameters: dict[str, Any] = {"approach": {"type": "supervised"}} if facts.dataset is not None else {}
    if facts.manifest is not None:
        signature = facts.manifest.signature
        parameters |= {
            "task": "regression" if signature.task == "regression" else f"{signature.task} classification",
            "modelArchitecture": facts.manifest.framework,
            "inputs": [{"format": f"{one.name}: {one.kind}"} for one in signature.inputs],
            "outputs": [{"format": f"{one.name}: {one.datatype}"} for one in signature.outputs],
        }
    datasets = [{"ref": one["bom-ref"]} for one in _data(facts)]
    if datasets:
        parameters["datasets"] = datasets
    metrics, considerations = _metrics(facts), _considerations(facts)
    return {
        **({"modelParameters": parameters} if parameters else {}),
        **({"quantitativeAnalysis": {"performanceMetrics": metrics}} if metrics else {}),
        **({"considerations": considerations} if considerations else {}),
    }


def _metrics(facts: Facts) -> list[dict[str, Any]]:
    if facts.evaluation is None:
        return [{"type": name, "value": repr(one.value)} for name, one in sorted(facts.evidence.metrics.items())]
    whole = [(name, one, None) for name, one in sorted(facts.evaluation.metrics.items())]
    parts = [(one.name, one.metric, f"{one.column} = {one.value}") for one in facts.evaluation.slices]
    return [
        {
            "type": name,
            "value": repr(one.value),
            **({} if part is None else {"slice": part}),
            "confidenceInterval": {"lowerBound": repr(one.low), "upperBound": repr(one.high)},
        }
        for name, one, part in [*whole, *parts]
    ]


def _considerations(facts: Facts) -> dict[str, Any]:
    said = facts.human
    told: dict[str, Any] = {}
    if "intended_use" in said:
        told["useCases"] = [said["intended_use"]]
    limits = [said[name] for name in ("limitations", "out_of_scope") if name in said]
    if limits:
        told["technicalLimitations"] = limits
    if "ethical_considerations" in said:
        told["ethicalConsiderations"] = [{"name": said["ethical_considerations"]}]
    return told


def _data(facts: Facts) -> list[dict[str, Any]]:
    found: dict[Digest, dict[str, Any]] = {}
    if facts.dataset is not None:
        rows = f"{facts.dataset.rows} rows, {len(facts.dataset.columns)} columns"
        found[facts.dataset.digest] = _dataset(facts.dataset.digest, "training data", rows)
    if facts.evaluation is not None and facts.evaluation.dataset_digest not in found:
        digest = facts.evaluation.dataset_digest
        found[digest] = _dataset(digest, "evaluation data", f"{facts.evaluation.rows} rows")
    return list(found.values())


def _dataset(digest: Digest, name: str, description: str) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"data:{digest}",
        "name": name,
        "description": description,
        "hashes": _hashes(digest),
        "data": [{"type": "dataset", "name": name}],
    }


def _packages(facts: Facts) -> list[dict[str, Any]]:
    locked = [] if facts.manifest is None else [one.split("==", 1) for one in facts.manifest.environment]
    return [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{number}",
            "name": name,
            "version": number,
            "purl": f"pkg:pypi/{name}@{number}",
        }
        for name, number in locked
    ]


def _hashes(digest: Digest) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]
