"""Holds the leases of a process: renews them, and says of each for how long it surely stands.

A lease is lost by another's taking, which nobody does who has not seen it go without renewal for
``LEASE_SECONDS``. So whoever was heard by the store less than that ago has it, whatever happens.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from plugin_framework.engines.cluster.records import Lease
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.errors import LeaseLostError, StoreUnreachableError

RENEWALS = 3
"""How often a lease is renewed in the time after which it may be taken."""

RETRY_SECONDS = 0.2
"""Between two tries that somebody waits for."""

JOIN_SECONDS = 5.0

log: logging.Logger = logging.getLogger("datahub.lease")


def now() -> float:
    """Seconds of a clock that never goes back, and goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Gate:
    """Whether an attempt may act: one lease. Made by ``Holdings.hold``.

    ``lost`` is set for good once another has the lease.
    """

    def __init__(
        self, lease: Lease, seconds: float, renewed_at: float, hurry: Callable[[], None]
    ) -> None:
        self.lease: Lease = lease
        self.lost: threading.Event = threading.Event()
        self._seconds = seconds
        self._renewed_at = renewed_at
        self._hurry = hurry
        self._changed = threading.Condition()
        self._on_lost: list[Callable[[], object]] = []

    def check(self) -> float:
        """For how many seconds the lease surely stands; waits for a renewal where that is due.

        Raises:
            LeaseLostError: another has it.
            StoreUnreachableError: it could not be renewed; whether another has it is not known.
        """
        if not self._is_fresh():
            self._hurry()
        with self._changed:
            self._changed.wait_for(lambda: self.lost.is_set() or self._is_fresh(), self._seconds)
            if self.lost.is_set():
                raise self._error()
            if not self._is_fresh():
                raise StoreUnreachableError(
                    f"attempt {self.lease.number} of subtask {self.lease.subtask_id} waits for"
                    " its lease to be renewed"
                )
            return self._left()

    def when_lost(self, call: Callable[[], object]) -> None:
        """Have this called, from a thread of its own, once the lease is lost."""
        with self._changed:
            lost = self.lost.is_set()
            self._on_lost.append(call)
        if lost:
            self._tell([call])

    def renewed(self, asked_at: float) -> None:
        """The store had it renewed, when asked at that moment."""
        with self._changed:
            self._renewed_at = max(self._renewed_at, asked_at)
            self._changed.notify_all()

    def lose(self) -> None:
        """Another has the lease."""
        with self._changed:
            if self.lost.is_set():
                return
            self.lost.set()
            self._changed.notify_all()
        log.warning("%s", self._error())
        self._tell(self._on_lost)

    def _tell(self, calls: Iterable[Callable[[], object]]) -> None:
        # What is to be stopped may have to be waited for, and the other leases must not.
        for call in calls:
            threading.Thread(target=call, daemon=True, name="fence").start()

    def _left(self) -> float:
        return self._renewed_at + self._seconds - now()

    def _is_fresh(self) -> bool:
        return self._left() >= self._seconds / RENEWALS

    def _error(self) -> LeaseLostError:
        return LeaseLostError(
            f"attempt {self.lease.number} of subtask {self.lease.subtask_id} has lost its lease:"
            " another node goes on with it, and nothing more is reported from here"
        )


class Holdings:
    """All leases of one process, renewed together by one thread; ``seconds`` are LEASE_SECONDS."""

    def __init__(self, store: LeaseStore, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._changed = threading.Condition()
        self._gates: dict[str, Gate] = {}
        self._hurried = self._closed = False
        self._working = True
        self._thread = threading.Thread(target=self._serve, daemon=True, name="leases")
        self._thread.start()

    def hold(self, lease: Lease, acquired_at: float) -> Gate:
        """Renew a lease from now on, that was asked for at that moment of ``now``."""
        gate = Gate(lease, self._seconds, acquired_at, self._hurry)
        with self._changed:
            self._gates[lease.subtask_id] = gate
        return gate

    def drop(self, lease: Lease) -> None:
        """Renew it no more: it is about to be given back."""
        with self._changed:
            gate = self._gates.get(lease.subtask_id)
            if gate is not None and gate.lease == lease:
                del self._gates[lease.subtask_id]

    def close(self) -> None:
        """Renew nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(JOIN_SECONDS)

    def _hurry(self) -> None:
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def _serve(self) -> None:
        pause = self._seconds / RENEWALS
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._hurried, pause)
                if self._closed:
                    return
                self._hurried = False
                gates = list(self._gates.values())
            began = now()
            renewed = not gates or self._renew(gates)
            spent = now() - began
            pause = max(self._seconds / RENEWALS - spent, 0) if renewed else RETRY_SECONDS

    def _renew(self, gates: list[Gate]) -> bool:
        """Renew these; whether the store did."""
        asked_at = now()
        try:
            ours = self._store.renew([gate.lease for gate in gates])
        except StoreUnreachableError as error:
            if self._working:
                log.warning("%d leases are not renewed: %s", len(gates), error)
            self._working = False
            return False
        except Exception:
            log.exception("leases are not renewed")
            return False
        if not self._working:
            log.info("leases are renewed again")
        self._working = True
        for gate in gates:
            if gate.lease.subtask_id in ours:
                gate.renewed(asked_at)
            elif self._is_held(gate):
                gate.lose()
        return True

    def _is_held(self, gate: Gate) -> bool:
        with self._changed:
            return self._gates.get(gate.lease.subtask_id) is gate
