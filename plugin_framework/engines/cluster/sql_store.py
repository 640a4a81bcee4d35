"""A store in a database that speaks SQL: the journal's, or a server's."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

from plugin_framework.engines.cluster import statements as sql
from plugin_framework.engines.cluster.records import (
    Ending,
    Kept,
    Lease,
    NodeRecord,
    SharedUpload,
    Sight,
)
from plugin_framework.errors import LeaseLostError
from plugin_framework.journal.journal import Fate
from plugin_framework.journal.uploads import KeptPart, Output

Parameters = dict[str, Any]
Rows = list[tuple[Any, ...]]
MOST_AT_ONCE = 1000
"""How many subtasks are asked about at once: others wait meanwhile."""
MOST_ENDED = 200
"""How many endings are told at once: each may be of some MiB."""


class SqlStore(ABC):
    """A ``LeaseStore`` for which only the way to the database is missing."""

    guarantee: str

    def open(self, service: str, subtask_ids: Sequence[str]) -> set[str]:
        """See ``LeaseStore.open``."""
        found = [row for (row,) in self._each(sql.OPEN, subtask_ids, service=service)]
        anew = [subtask_id for subtask_id, _, noticed in found if noticed]
        self._run_all([(each, {"subtask_id": one}) for one in anew for each in sql.BEGIN_ANEW])
        return {subtask_id for subtask_id, handed, noticed in found if handed and not noticed}

    def handed(self, subtask_ids: Collection[str]) -> None:
        """See ``LeaseStore.handed``."""
        self._each(sql.HANDED, subtask_ids)

    def look(self, subtask_id: str) -> Sight | None:
        """See ``LeaseStore.look``."""
        rows = self._run(sql.LOOK, subtask_id=subtask_id)
        return _sight(*rows[0]) if rows else None

    def acquire(self, subtask_id: str, node: str, *, seen: Sight | None) -> Lease | None:
        """See ``LeaseStore.acquire``."""
        statement = sql.ACQUIRE_FIRST
        of: Parameters = {"subtask_id": subtask_id, "node": node}
        if seen is not None:
            as_seen = {"number": seen.number, "beats": seen.beats, "held": int(seen.held)}
            statement, of = sql.ACQUIRE, {**of, **as_seen}
        (rows,) = self._run_all([(statement, of)])
        number, losses = rows[0] if rows else (0, 0)
        return Lease(subtask_id, number, node, losses) if rows else None

    def renew(self, leases: Sequence[Lease]) -> set[str]:
        """See ``LeaseStore.renew``."""
        in_order = sorted(leases, key=lambda lease: lease.subtask_id)
        batch = [(sql.RENEW, _of(lease)) for lease in in_order]
        # What counts is that it grows: a beat that a crash takes back is only not seen.
        renewed = self._run_all(batch, durable=False)
        return {subtask_id for rows in renewed for (subtask_id,) in rows}

    def release(self, lease: Lease) -> None:
        """See ``LeaseStore.release``."""
        self._run_all([(sql.RELEASE, _of(lease))])

    def set_begun(self, lease: Lease, *, begun: bool) -> None:
        """See ``LeaseStore.set_begun``."""
        self._fenced(lease, (sql.SET_BEGUN, {"begun": int(begun)}))

    def ending(self, subtask_id: str) -> Ending | None:
        """See ``LeaseStore.ending``."""
        rows = self._run(sql.ENDING, subtask_id=subtask_id)
        return _ending(*rows[0]) if rows else None

    def end(self, lease: Lease, ending: Ending) -> Ending:
        """See ``LeaseStore.end``."""
        written = {"ending": json.dumps(ending.as_json()), "fate": ending.fate}
        return _ending(*self._fenced(lease, (sql.END, written))[0])

    def end_unheld(self, subtask_id: str, ending: Ending) -> Ending | None:
        """See ``LeaseStore.end_unheld``."""
        text = json.dumps(ending.as_json())
        rows = self._run(sql.END_UNHELD, subtask_id=subtask_id, ending=text, fate=ending.fate)
        return _ending(*rows[0]) if rows else None

    def settle(self, subtask_id: str, fate: Literal["delivered", "refused"]) -> None:
        """See ``LeaseStore.settle``."""
        of = {"subtask_id": subtask_id}
        self._run_all([(sql.SETTLE, {**of, "fate": fate}), (sql.FORGET_UPLOADS_OF_SETTLED, of)])

    def load(self, lease: Lease) -> Kept:
        """See ``LeaseStore.load``."""
        states, uploads, parts, outputs = self._run_all([(each, _of(lease)) for each in sql.LOAD])
        if not states:
            raise lost(lease)
        stored: dict[str, dict[int, KeptPart]] = {}
        for name, part, etag, digest in parts:
            stored.setdefault(name, {})[part] = KeptPart(etag, digest)
        found = tuple(_upload(row, stored.get(row[0], {})) for row in uploads)
        return Kept(json.loads(states[0][0]), found, tuple(Output(*row) for row in outputs))

    def save_state(self, lease: Lease, state: Mapping[str, Any]) -> None:
        """See ``LeaseStore.save_state``."""
        self._fenced(lease, (sql.SAVE_STATE, {"state": json.dumps(state)}))

    def begin_upload(self, lease: Lease, upload: SharedUpload) -> None:
        """See ``LeaseStore.begin_upload``."""
        written = {
            "name": upload.name,
            "upload_id": upload.upload_id,
            "size": upload.size,
            "chunk": upload.chunk,
            "part_size": upload.part_size,
            "sealed_urls": upload.sealed_urls,
        }
        self._fenced(
            lease, (sql.TOUCH, {}), (sql.FORGET_UPLOAD, written), (sql.BEGIN_UPLOAD, written)
        )

    def keep_part(
        self, lease: Lease, name: str, upload_id: str, index: int, part: KeptPart
    ) -> None:
        """See ``LeaseStore.keep_part``."""
        of = {"name": name, "upload_id": upload_id}
        written = {**of, "part": index, "etag": part.etag, "digest": part.digest}
        self._fenced(lease, (sql.TOUCH, {}), (sql.KEEP_PART, written))

    def complete_upload(self, lease: Lease, output: Output, upload_id: str) -> None:
        """See ``LeaseStore.complete_upload``."""
        of = {"name": output.name, "upload_id": upload_id}
        listed = {"name": output.name, "size": output.size, "sha256": output.sha256}
        self._fenced(lease, (sql.TOUCH, {}), (sql.COMPLETE_UPLOAD, of), (sql.ADD_OUTPUT, listed))

    def held(self, service: str) -> dict[str, Sight]:
        """See ``LeaseStore.held``."""
        rows = self._run(sql.HELD, service=service)
        return {subtask_id: _sight(*sight) for subtask_id, *sight in rows}

    def ended(self, service: str) -> list[tuple[str, Ending]]:
        """See ``LeaseStore.ended``."""
        rows = self._run(sql.ENDED, service=service, most=MOST_ENDED)
        return [(subtask_id, _ending(*kept)) for subtask_id, *kept in rows]

    def noticed(self, subtask_ids: Collection[str]) -> None:
        """See ``LeaseStore.noticed``."""
        self._each(sql.NOTICED, subtask_ids)

    def beat(self, node: NodeRecord) -> float:
        """See ``LeaseStore.beat``."""
        record = json.dumps(node.as_json())
        ((seen,),) = self._run(sql.BEAT, durable=False, name=node.name, record=record)
        return float(seen)

    def nodes(self) -> list[NodeRecord]:
        """See ``LeaseStore.nodes``."""
        return [NodeRecord.of(json.loads(record)) for (record,) in self._run(sql.NODES)]

    def leave(self, name: str) -> None:
        """See ``LeaseStore.leave``."""
        self._run(sql.LEAVE, name=name)

    def learn(self, fact: str, value: Any) -> None:
        """See ``LeaseStore.learn``."""
        self._run(sql.LEARN, fact=fact, value=json.dumps(value))

    def learn_first(self, fact: str, value: Any) -> Any:
        """See ``LeaseStore.learn_first``."""
        ((kept,),) = self._run(sql.LEARN_FIRST, fact=fact, value=json.dumps(value))
        return json.loads(kept)

    def known(self, fact: str) -> Any:
        """See ``LeaseStore.known``."""
        rows = self._run(sql.KNOWN, fact=fact)
        return json.loads(rows[0][0]) if rows else None

    def prune(self, before: float) -> int:
        """See ``LeaseStore.prune``."""
        self._run(sql.PRUNE_NODES, before=before)
        removed = 0
        for statement in (sql.PRUNE, sql.PRUNE_STRANGERS):
            while some := self._run(statement, before=before, most=MOST_AT_ONCE):
                removed += len(some)
        return removed

    def _run(self, statement: str, *, durable: bool = True, **values: Any) -> Rows:
        (rows,) = self._run_all([(statement, values)], durable=durable)
        return rows

    def _each(self, statement: str, subtask_ids: Collection[str], **values: Any) -> list[Rows]:
        # In one order, so that no two batches wait for each other.
        left = iter(sorted(subtask_ids))
        found: list[Rows] = []
        while some := list(islice(left, MOST_AT_ONCE)):
            found += self._run_all([(statement, {"subtask_id": each, **values}) for each in some])
        return found

    def _fenced(self, lease: Lease, *batch: tuple[str, Parameters]) -> Rows:
        """What the first statement returns, which is nothing where the lease is lost."""
        first, *_ = self._run_all([(each, {**_of(lease), **values}) for each, values in batch])
        if not first:
            raise lost(lease)
        return first

    def _run_all(
        self, batch: Sequence[tuple[str, Parameters]], *, durable: bool = True
    ) -> list[Rows]:
        return self._ask(batch, durable=durable) if batch else []

    @abstractmethod
    def _ask(self, batch: Sequence[tuple[str, Parameters]], *, durable: bool) -> list[Rows]:
        """What each statement returns, of which there is one or more; all are done, or none.

        What is not ``durable`` need not be on disk.

        Raises:
            StoreUnreachableError: the database does not do it.
        """


def lost(lease: Lease) -> LeaseLostError:
    """What to say where another has the lease."""
    return LeaseLostError(
        f"attempt {lease.number} of subtask {lease.subtask_id} has lost its lease: another node"
        " has it"
    )


def _of(lease: Lease) -> Parameters:
    return {"subtask_id": lease.subtask_id, "number": lease.number, "node": lease.node}


def _sight(number: int, beats: int, node: str, held: int) -> Sight:
    return Sight(number, beats, node, held=bool(held))


def _ending(text: str, fate: Fate) -> Ending:
    return Ending.of(json.loads(text), fate)


def _upload(row: tuple[Any, ...], parts: Mapping[int, KeptPart]) -> SharedUpload:
    name, upload_id, size, chunk, part_size, sealed, completed = row
    return SharedUpload(
        name, upload_id, size, chunk, part_size, sealed, parts, completed=bool(completed)
    )
