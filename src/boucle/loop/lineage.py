"""Where a version comes from: data, run, bundle, verdicts, permit, alias, each with its digest."""

from boucle.data.api import get_version as get_dataset
from boucle.evaluation.api import load_evaluation
from boucle.governance.api import find_permit, list_reports
from boucle.kernel import trees
from boucle.kernel.store import Store
from boucle.loop.report_records import LineageNode
from boucle.models.api import get_version
from boucle.models.records import AliasMove, ModelVersion
from boucle.packaging.api import manifest_of
from boucle.packaging.manifest import MANIFEST
from boucle.runs.api import get_run


def lineage(store: Store, move: AliasMove) -> list[LineageNode]:
    """The chain behind an alias, from data to alias, without what a version lacks that a client registered."""
    version = get_version(store, move.project_id, move.model, move.version)
    nodes = [
        _dataset(store, version) if version.dataset_digest else None,
        _run(store, version) if version.run_id else None,
        _bundle(store, version),
    ]
    return [*(one for one in nodes if one is not None), *_judged(store, version, move)]


def _dataset(store: Store, version: ModelVersion) -> LineageNode:
    dataset = get_dataset(store, version.learned_from)
    facts = {"rows": f"{dataset.rows:,}", "columns": str(len(dataset.columns))}
    if dataset.first_at and dataset.last_at:
        facts["events"] = f"{dataset.first_at:%Y-%m-%d} to {dataset.last_at:%Y-%m-%d}"
    return LineageNode(kind="dataset version", title="training data", digest=dataset.digest, facts=facts)


def _run(store: Store, version: ModelVersion) -> LineageNode:
    run = get_run(store, version.run_id)
    facts = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in run.params.items()}
    return LineageNode(kind="run", title=run.name, digest=None, facts={"experiment": run.experiment} | facts)


def _bundle(store: Store, version: ModelVersion) -> LineageNode:
    files = {one.path: one.digest for one in trees.entries(store.blobs, version.bundle_digest)}
    if MANIFEST not in files:  # not packaged by Boucle
        facts = {"files": str(len(files))}
        return LineageNode(kind="bundle", title="model", digest=version.bundle_digest, facts=facts)
    manifest = manifest_of(store.blobs.get(files[MANIFEST]), where=f"of {version.bundle_digest}")
    facts = {"inputs": str(len(manifest.signature.inputs))}
    if parity := manifest.parity:
        facts = {"flavor": parity.compiler} | facts
        facts["parity"] = (
            f"{parity.largest_difference:.1e} over {parity.held_out_rows + parity.generated_rows:,} rows, "
            f"{parity.label_flips} label flips"
        )
    return LineageNode(kind="bundle", title="compiled model", digest=version.bundle_digest, facts=facts)


def _judged(store: Store, version: ModelVersion, move: AliasMove) -> list[LineageNode]:
    facts = {"author": version.author, "why": version.note}
    if version.evaluation_digest is not None:
        facts["evaluated on"] = f"{load_evaluation(store, version.evaluation_digest).rows:,} later rows"
    title = f"{version.model}/{version.number}"
    nodes = [LineageNode(kind="model version", title=title, digest=version.evaluation_digest, facts=facts)]
    for report in list_reports(store, version.project_id, version.model, version.number)[-1:]:
        verdicts = {verdict.gate: verdict.message for verdict in report.verdicts}
        passed = "passed" if report.passed else "failed"
        nodes.append(LineageNode(kind="gates", title=passed, digest=report.policy_digest, facts=verdicts))
    permit = None if move.permit_id is None else find_permit(store, move.permit_id)
    if permit is not None:
        facts = {"action": permit.action, "issued to": permit.issued_to}
        nodes.append(LineageNode(kind="permit", title=permit.action, digest=None, facts=facts))
    facts = {"from": f"{move.effective_at:%Y-%m-%d}", "moved by": move.actor, "why": move.reason}
    return [*nodes, LineageNode(kind="alias", title=move.alias, digest=None, facts=facts)]
