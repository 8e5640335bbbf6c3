"""Any mix of units that work, units that fail, crashes of the head file and reopenings, against a plain list."""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import Connection

from boucle.kernel import audit
from boucle.kernel.clock import FixedClock
from boucle.kernel.ids import SequentialIds
from boucle.kernel.store import Store


class StoreMachine(RuleBasedStateMachine):
    """The store must remember exactly the subjects of the units that returned, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FixedClock(datetime(2013, 3, 1, tzinfo=UTC))
        self.subjects: list[str] = []

    @initialize()
    def open(self) -> None:
        self.store = Store.open(self.folder / "home", clock=self.clock, ids=SequentialIds())

    @rule(subjects=st.lists(st.text(max_size=5), max_size=3))
    def write(self, subjects: list[str]) -> None:
        self.store.write(lambda connection: self.append(connection, subjects))
        self.subjects += subjects

    @rule(subjects=st.lists(st.text(max_size=5), max_size=3))
    def fail(self, subjects: list[str]) -> None:
        def unit(connection: Connection) -> None:
            self.append(connection, subjects)
            raise LookupError

        with pytest.raises(LookupError):
            self.store.write(unit)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.open()

    @rule(subject=st.text(max_size=5))
    def crash_before_the_head_is_written(self, subject: str) -> None:
        before = self.store.audit_head.path.read_bytes()
        self.write([subject])
        self.store.audit_head.path.write_bytes(before)
        self.reopen()

    @rule(data=st.binary(max_size=5))
    def keep_a_blob(self, data: bytes) -> None:
        assert self.store.blobs.get(self.store.blobs.put(data)) == data

    @invariant()
    def everything_acknowledged_is_there_and_nothing_else(self) -> None:
        kept = self.store.read(lambda connection: audit.records(connection, project_id="p"))
        assert [record.subject for record in kept] == self.subjects
        assert audit.verify(self.store).problems == []

    def append(self, connection: Connection, subjects: list[str]) -> None:
        for subject in subjects:
            audit.append(
                connection,
                project_id="p",
                actor="person:ada",
                action="note",
                subject=subject,
                details={},
                at=self.clock.now(),
            )

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


TestStoreMachine = pytest.mark.slow(StoreMachine.TestCase)
TestStoreMachine.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
