"""Where a version comes from: data, run, bundle, verdicts, permit, alias, each with its digest."""

from boucle.data.api import get_version as get_dataset
from boucle.evaluation.api import load_evaluation
from boucle.governance.api import find_permit, list_reports
from boucle.kernel.store import Store
from boucle.loop.report_records import LineageNode
from boucle.models.api import get_version
from boucle.models.records import AliasMove, ModelVersion
from boucle.packaging.api import open_kept
from boucle.runs.api import get_run


def lineage(store: Store, move: AliasMove) -> list[LineageNode]:
    """The chain behind an alias, from data to alias."""
    version = get_version(store, move.project_id, move.model, move.version)
    return [_dataset(store, version), _run(store, version), _bundle(store, version), *_judged(store, version, move)]


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
    manifest = open_kept(store, version.bundle_digest).manifest
    facts = {"inputs": str(len(manifest.signature.inputs))}
    if parity := manifest.parity:
        facts = {"flavor": parity.compiler} | facts
        facts["parity"] = (
            f"{parity.largest_difference:.1e} over {parity.held_out_rows + parity.generated_rows:,} rows, "
            f"{parity.label_flips} label flips"
        )
    return LineageNode(kind="bundle", title="compiled model", digest=version.bundle_digest, facts=facts)


def _judged(store: Store, version: ModelVersion, move: AliasMove) -> list[LineageNode]:
    evaluation = load_evaluation(store, version.measured_by)
    report = list_reports(store, version.project_id, version.model, version.number)[-1]
    permit = None if move.permit_id is None else find_permit(store, move.permit_id)
    verdicts = {verdict.gate: verdict.message for verdict in report.verdicts}
    nodes = [
        LineageNode(
            kind="model version",
            title=f"{version.model}/{version.number}",
            digest=version.measured_by,
            facts={"author": version.author, "why": version.note, "evaluated on": f"{evaluation.rows:,} later rows"},
        ),
        LineageNode(
            kind="gates", title="passed" if report.passed else "failed", digest=report.policy_digest, facts=verdicts
        ),
    ]
    if permit is not None:
        facts = {"action": permit.action, "issued to": permit.issued_to}
        nodes.append(LineageNode(kind="permit", title=permit.action, digest=None, facts=facts))
    facts = {"from": f"{move.effective_at:%Y-%m-%d}", "moved by": move.actor, "why": move.reason}
    return [*nodes, LineageNode(kind="alias", title=move.alias, digest=None, facts=facts)]
