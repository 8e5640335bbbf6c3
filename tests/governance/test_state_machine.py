"""Whatever is tried in whatever order, an alias stands only where a permit for a passing version put it."""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from boucle.evaluation.records import Evaluation, Metric
from boucle.governance import api
from boucle.governance.records import GateReport, Objective, Permit, Policy
from boucle.kernel import audit, trees
from boucle.kernel.clock import FixedClock
from boucle.kernel.digests import Digest, canonical_json, digest_json
from boucle.kernel.errors import Conflict, NotFound, Refused
from boucle.kernel.ids import SequentialIds
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.models.records import AliasMove, ModelVersion
from boucle.packaging.records import BundleManifest, EncodeStage, Parity, PostStage, Signature, TreeliteStage

NAMES = ("champion", "shadow")
POLICIES = tuple(Policy(objectives=[Objective(metric="auc_roc", at_least=bound)]) for bound in (0.6, 0.7))


class Registry(RuleBasedStateMachine):
    """Registers, judges, permits, forges, promotes and rolls back; keeps a plain model of what may be true."""

    versions = Bundle("versions")
    reports = Bundle("reports")
    permits = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FixedClock(datetime(2013, 3, 1, tzinfo=UTC))
        self.store = Store.open(self.folder / "home", clock=self.clock, ids=SequentialIds())
        self.auc: dict[int, float] = {}
        self.policy: Policy | None = None
        self.judged: dict[int, tuple[Digest, bool]] = {}
        self.history: dict[str, list[int]] = {name: [] for name in NAMES}
        self.under: dict[tuple[str, int], set[Digest]] = {}
        self.used: set[str] = set()

    def teardown(self) -> None:
        assert audit.verify(self.store).problems == []
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(target=versions, auc=st.sampled_from([0.5, 0.65, 0.75]), seed=st.integers(0, 3))
    def register(self, auc: float, seed: int) -> tuple[ModelVersion, Evaluation, BundleManifest]:
        candidate = self._candidate(auc, seed)
        number = candidate[0].number
        assert self.auc.setdefault(number, auc) == auc
        assert number <= len(self.auc)
        return candidate

    @rule(target=reports, candidate=versions, policy=st.sampled_from(POLICIES))
    def judge(self, candidate: tuple[ModelVersion, Evaluation, BundleManifest], policy: Policy) -> GateReport:
        version, _, _ = candidate
        report = api.gate(self.store, version, policy)
        bound = policy.objectives[0].at_least
        assert bound is not None
        assert report.passed == (self.auc[version.number] >= bound)
        self.policy = policy
        self.judged[version.number] = (digest_json(policy), report.passed)
        return report

    @rule(target=permits, report=reports, alias=st.sampled_from(NAMES), lie=st.booleans())
    def permit(self, report: GateReport, alias: str, lie: bool) -> Permit | None:
        claimed = msgspec.structs.replace(report, passed=True, verdicts=[]) if lie else report
        try:
            permit = api.issue_permit(self.store, claimed, alias=alias, to="service:loop")
        except Refused:
            assert not self._may_be_permitted(report)
            return None
        assert self._may_be_permitted(report)
        return permit

    @rule(permit=permits, number=st.integers(1, 12), alias=st.sampled_from(NAMES))
    def promote_a_forgery(self, permit: Permit | None, number: int, alias: str) -> None:
        if permit is None:
            return
        forged = msgspec.structs.replace(permit, id="permit_forged", number=number, alias=alias, used_at=None)
        self._expect_refusal(forged)

    @rule(permit=consumes(permits))
    def promote(self, permit: Permit | None) -> None:
        if permit is None:
            return
        if permit.id in self.used or permit.policy_digest != self._in_force():
            self._expect_refusal(permit)
            return
        move = self._promote(permit)
        assert (move.number, move.alias) == (permit.number, permit.alias)
        self._note(move, permit.policy_digest)
        self._expect_refusal(permit)

    @rule(alias=st.sampled_from(NAMES), number=st.integers(1, 12))
    def roll_back(self, alias: str, number: int) -> None:
        current = self.history[alias][-1] if self.history[alias] else None
        in_force = self._in_force()
        allowed = number != current and in_force in self.under.get((alias, number), set())
        try:
            move = api.rollback(
                self.store,
                project_id="flights",
                model="flights",
                alias=alias,
                number=number,
                reason="worse",
                actor="service:loop",
                effective_at=self.clock.now(),
            )
        except (Refused, Conflict, NotFound):
            assert not allowed
            return
        assert allowed
        assert in_force is not None
        self._note(move, in_force)

    @rule(seconds=st.integers(1, 100_000))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def every_alias_stands_where_a_used_permit_put_it(self) -> None:
        permits = {permit.id: permit for permit in api.list_permits(self.store, "flights", "flights")}
        for name in NAMES:
            moves = models.history(self.store, "flights", "flights", name) if self.auc else []
            assert [move.number for move in moves] == self.history[name]
            for move in moves:
                permit = permits[move.permit_id]
                version = models.get_version(self.store, "flights", "flights", move.number)
                assert permit.used_at is not None
                assert (permit.alias, permit.number) == (name, move.number)
                assert permit.bundle_digest == version.bundle_digest
                assert permit.evaluation_digest == version.evaluation_digest
                assert self.auc[move.number] >= 0.6
            if moves:
                at = models.version_at(self.store, "flights", "flights", name, self.clock.now())
                assert at == moves[-1].number
        used = [permit.id for permit in permits.values() if permit.used_at is not None]
        assert len(used) == sum(map(len, self.history.values()))

    def _may_be_permitted(self, report: GateReport) -> bool:
        policy, passed = self.judged[report.number]
        return passed and policy == report.policy_digest == self._in_force()

    def _in_force(self) -> Digest | None:
        return None if self.policy is None else digest_json(self.policy)

    def _promote(self, permit: Permit) -> AliasMove:
        return api.promote(
            self.store, permit, reason="gates passed", actor="service:loop", effective_at=self.clock.now()
        )

    def _expect_refusal(self, permit: Permit) -> None:
        try:
            self._promote(permit)
        except Refused:
            return
        raise AssertionError(f"{permit} moved an alias")

    def _note(self, move: AliasMove, policy: Digest) -> None:
        self.used.add(move.permit_id)
        self.history[move.alias].append(move.number)
        self.under.setdefault((move.alias, move.number), set()).add(policy)

    def _candidate(self, auc: float, seed: int) -> tuple[ModelVersion, Evaluation, BundleManifest]:
        manifest = BundleManifest(
            format=2,
            stages=[EncodeStage(), TreeliteStage(file="model.treelite", margins=False), PostStage(link="identity")],
            signature=Signature(task="binary", inputs=[], outputs=[], classes=["0", "1"], threshold=0.5),
            parity=Parity(
                compiler="treelite",
                tolerance=1e-9,
                held_out_rows=1,
                generated_rows=1,
                largest_difference=0.0,
                label_flips=0,
                worst="",
            ),
            params={"auc": auc, "seed": seed},
            environment=[],
            python="3.11",
            files={"model.treelite": Digest("0" * 64)},
            framework="none",
        )
        folder = self.folder / "bundle"
        folder.mkdir(exist_ok=True)
        (folder / "boucle.json").write_bytes(canonical_json(manifest))
        bundle_digest, table = trees.freeze(self.store.blobs, folder), self.store.blobs.put(b"table")
        evaluation = Evaluation(
            bundle_digest=bundle_digest,
            dataset_digest=table,
            rows=1000,
            positives=100,
            metrics={"auc_roc": Metric(value=auc, low=auc, high=auc)},
        )
        version = models.register(
            self.store,
            project_id="flights",
            model="flights",
            bundle_digest=bundle_digest,
            dataset_digest=table,
            evaluation_digest=self.store.blobs.put(canonical_json(evaluation)),
            run_id="run_1",
            author="service:loop",
            note="",
        )
        return version, evaluation, manifest


TestRegistry = pytest.mark.slow(Registry.TestCase)
TestRegistry.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
