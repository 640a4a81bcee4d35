"""Offers tasks to a plugin service on schedule, whatever it answers (PROTOCOL.md, 2.1 and 2.2).

A load that waits for answers before it goes on asks less of a service that is slow, and so does not
see how long others would have waited. Here each call is due at its own time, and counts from then.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import httpx

from plugin_framework.emulator.bench.ledger import Task
from plugin_framework.emulator.bench.target import Target, read_answer

MOST_AT_ONCE: Final = 256
"""Calls under way; what is due beyond waits, and its time counts."""

CALL_SECONDS: Final = 60.0
"""How long an answer is waited for."""


class Offering:
    """Offers tasks in a thread of its own, ``rate`` of them a second."""

    def __init__(self, target: Target, tasks: Sequence[Task], rate: float) -> None:
        self._target = target
        self._tasks = tasks
        self._rate = rate
        self._stopped = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="offering")

    def start(self) -> None:
        """Begin: the first task is due now."""
        began = time.time()
        for number, task in enumerate(self._tasks):
            task.due = began + number / self._rate
        self._thread.start()

    def stop(self) -> None:
        """Offer no more, and wait for no answer."""
        with suppress(RuntimeError):  # it is over already
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    @property
    def over(self) -> bool:
        """Whether all tasks were offered, and answered one way or another."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._offer_all())
        finally:
            self._loop.close()

    async def _offer_all(self) -> None:
        room = asyncio.Semaphore(MOST_AT_ONCE)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=MOST_AT_ONCE)
        async with httpx.AsyncClient(
            limits=limits, timeout=CALL_SECONDS, trust_env=False
        ) as client:
            calls = []
            for task in self._tasks:
                if await self._stopped_before(task.due):
                    break
                calls.append(asyncio.create_task(self._offer(client, room, task)))
            await self._wait_for(calls)

    async def _stopped_before(self, due: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), max(due - time.time(), 0))
        return self._stopped.is_set()

    async def _wait_for(self, calls: Sequence[asyncio.Task[None]]) -> None:
        answered = asyncio.gather(*calls)
        stopped = asyncio.create_task(self._stopped.wait())
        answered.add_done_callback(lambda _: stopped.cancel())
        with suppress(asyncio.CancelledError):
            await stopped
        answered.cancel()
        with suppress(asyncio.CancelledError):
            await answered

    async def _offer(self, client: httpx.AsyncClient, room: asyncio.Semaphore, task: Task) -> None:
        async with room:
            try:
                answer = await client.send(self._target.create(task.subtask_id))
            except httpx.HTTPError as error:
                task.answer, task.problem = "none", str(error) or type(error).__name__
            else:
                task.answer, task.problem = read_answer(answer.status_code, answer.content)
            task.answered = time.time()
