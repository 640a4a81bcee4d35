"""Takes messages from several queues, and no more of them than there are slots."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from celery.worker import state

from plugin_framework.engines.celery.bases import Request
from plugin_framework.engines.celery.envelope import drop, strip


class Unacknowledged:
    """Counts the messages that are worked on, until their acknowledgement is on its way."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def change(self, by: int) -> None:
        """One more, or one less."""
        with self._changed:
            self._count += by
            self._changed.notify_all()

    def wait_for_none(self, seconds: float) -> bool:
        """Whether there are none, within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, seconds)


class Turns:
    """One connection's consumers; all but ``freed`` is called in Celery's loop.

    The prefetch limit of a quorum queue is each consumer's own, so a worker of several queues
    would sit on messages that others could run. While all slots are taken it consumes from none,
    and gives back what came meanwhile; when one is free it consumes again, from each queue first
    in its turn. With one queue the prefetch limit is enough, and nothing of this happens.
    """

    def __init__(
        self,
        consumer: Any,
        receive: Callable[[Any], object],
        *,
        slots: int,
        ended: Callable[[], bool],
    ) -> None:
        self._consumer = consumer
        self._receive = receive
        self._slots = slots
        self._ended = ended
        self._excess: list[Any] = []
        self._consuming = True
        self._asked = False

    def receive(self, message: Any) -> None:
        """Take a message, or put it with those to be given back."""
        if self._has_to_stop():
            self._excess.append(message)
        else:
            self._begin(message)
        if self._has_to_stop():
            self._settle_soon()

    def freed(self) -> None:
        """A message is done with, and there may be a slot. From any thread."""
        if not self._consuming:
            self._consumer.call_soon(self.settle)

    def settle(self) -> None:
        """Consume or consume no more, as it has to be now."""
        self._asked = True
        while self._asked:  # again for what arrives meanwhile
            self._asked = False
            self._settle()

    def _begin(self, message: Any) -> None:
        try:
            strip(message)
        except ValueError as error:
            drop(message, error)
        else:
            self._receive(message)

    def _settle(self) -> None:
        consumers = self._consumer.task_consumer
        if consumers is None:  # the connection is lost, and all that came by it
            return
        stop = self._has_to_stop()
        if stop and self._consuming:
            self._consuming = False
            consumers.cancel()
        if not self._consuming:
            self._give_back()
        if not (stop or self._consuming):
            self._consuming = True
            first, *others = consumers.queues
            consumers.queues = [*others, first]
            consumers.channel.basic_qos(0, self._free(), False)
            consumers.consume()

    def _settle_soon(self) -> None:
        # Not at once: a message may arrive while the broker is asked for something.
        if not self._asked:
            self._asked = True
            self._consumer.call_soon(self.settle)

    def _has_to_stop(self) -> bool:
        several = len(self._consumer.task_consumer.queues) > 1
        return self._ended() or (several and self._free() <= 0)

    def _free(self) -> int:
        return self._slots - len(state.reserved_requests)

    def _give_back(self) -> None:
        # They do not come straight back: nothing is consumed here.
        excess, self._excess = self._excess, []
        for message in excess:
            message.reject(requeue=True)


class Worker(Protocol):
    """What a delivery knows of its worker; ``turns`` are those of the connection it has now."""

    unacknowledged: Unacknowledged
    turns: Turns | None


class Delivery(Request):
    """A message that is worked on; ``task.worker`` has taken it."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._worker.unacknowledged.change(+1)

    def acknowledge(self) -> None:
        """The subtask is done with; Celery's contract."""
        super().acknowledge()
        self._done()

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - Celery's signature
        """The message goes back; Celery's contract."""
        super().reject(requeue)
        self._done()

    def _done(self) -> None:
        self._worker.unacknowledged.change(-1)
        if self._worker.turns is not None:
            self._worker.turns.freed()

    @property
    def _worker(self) -> Worker:
        worker: Worker = self.task.worker
        return worker
