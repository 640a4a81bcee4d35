"""The store of one machine: the journal, which the service and its workers share."""

from __future__ import annotations

import time
from collections.abc import Sequence

from plugin_framework.engines.cluster.sql_store import Parameters, Rows, SqlStore
from plugin_framework.engines.cluster.statements import whole
from plugin_framework.errors import JournalError, StoreUnreachableError
from plugin_framework.journal.journal import Journal


class JournalStore(SqlStore):
    """The leases of one state folder; a ``LeaseStore``."""

    guarantee = (
        "the journal: one machine, whose service and workers share DATAHUB_STATE_DIR; what is"
        " written is on its disk"
    )

    def __init__(self, journal: Journal) -> None:
        self._db = journal.database

    def doubts(self) -> list[str]:
        """See ``LeaseStore.doubts``."""
        return []

    def close(self) -> None:
        """The journal is closed by who opened it."""

    def _ask(self, batch: Sequence[tuple[str, Parameters]], *, durable: bool) -> list[Rows]:
        now = {"now": time.time()}
        reads = all(whole(statement).lstrip().startswith("SELECT") for statement, _ in batch)
        held = self._db.read() if reads else self._db.write(durable=durable, patient=True)
        try:
            with held as db:
                return [
                    db.execute(whole(statement), {**values, **now}).fetchall()
                    for statement, values in batch
                ]
        except JournalError as error:
            raise StoreUnreachableError(str(error)) from error
