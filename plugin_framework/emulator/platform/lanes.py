"""What goes to one plugin: create_task in a row, and manage_task beside it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from plugin_framework.emulator.platform.answers import (
    Outcome,
    Verdict,
    failure_of,
    is_signature_refused,
    outcome_of,
)
from plugin_framework.emulator.platform.calls import Caller, CallError
from plugin_framework.emulator.platform.outbox import Order, Outbox, Word
from plugin_framework.emulator.platform.registry import Registry
from plugin_framework.emulator.rules import Refused

LOOK_SECONDS: Final = 1.0
"""How often it looks for what another process has put into the outbox."""

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 15.0
"""Seconds between two tries, doubled each time, unless the service asks for more."""

LONGEST_ASKED: Final = 60.0
"""The longest pause that a service can ask for."""

TOLD_AT_ONCE: Final = 8
"""manage_task calls to one plugin, each about another subtask."""


class Sender:
    """Calls the service that has a plugin; ``in_air`` are the subtasks being created just now."""

    def __init__(self, registry: Registry, caller: Caller) -> None:
        self._registry = registry
        self._caller = caller
        self.in_air: set[str] = set()

    async def create(self, order: Order) -> Outcome:
        """Send a create_task."""
        self.in_air.add(order.subtask_id)
        try:
            return await self._send(order.plugin, "create_task", order.body, repeated=order.sent)
        finally:
            self.in_air.discard(order.subtask_id)

    async def tell(self, plugin: str, word: Word) -> Outcome:
        """Send a manage_task."""
        return await self._send(plugin, "manage_task", word.body, repeated=False)

    async def _send(self, plugin: str, call: str, body: bytes, *, repeated: bool) -> Outcome:
        try:
            base = self._registry.plugin(plugin).base
            answer = await self._caller.post(f"{base}/api/plugin/{call}", body)
        except Refused as unknown:
            return Outcome(Verdict.AGAIN, unknown.api_code, unknown.message, arrived=False)
        except CallError as error:
            return failure_of(error)
        return outcome_of(answer, repeated=repeated)


class Lane(ABC):
    """Runs until nothing is left to send to its plugin."""

    def __init__(self, plugin: str, outbox: Outbox, sender: Sender) -> None:
        self._plugin = plugin
        self._outbox = outbox
        self._sender = sender
        self._mended = asyncio.Event()

    @abstractmethod
    async def run(self) -> None:
        """Send."""

    def mended(self) -> None:
        """Try again now: the plugin's service has become well, or has moved."""
        self._mended.set()

    async def _pause(self, seconds: float) -> None:
        self._mended.clear()
        await happened(self._mended, seconds)


class CreateLane(Lane):
    """One call after another, in the order they were asked for: the first holds up the rest."""

    async def run(self) -> None:
        """Send every create_task."""
        tries = 0
        while order := self._outbox.next_order(self._plugin):
            if not self._outbox.begin(order):
                continue
            outcome = _judged(await self._sender.create(order), tries)
            self._outbox.settle(order, outcome)
            tries = tries + 1 if outcome.verdict is Verdict.AGAIN else 0
            if tries:
                await self._pause(_seconds_after(outcome, tries))


@dataclass(slots=True)
class _Tries:
    """Of one word; ``due`` is the loop's time of the next one."""

    due: float = 0.0
    count: int = 0
    problem: str = ""


class TellLane(Lane):
    """Calls side by side; one of them, or one subtask, holds up none of the others."""

    def __init__(self, plugin: str, outbox: Outbox, sender: Sender) -> None:
        super().__init__(plugin, outbox, sender)
        self._tries: dict[Word, _Tries] = {}

    async def run(self) -> None:
        """Send every manage_task."""
        under_way: dict[asyncio.Task[None], Word] = {}
        async with asyncio.TaskGroup() as group:
            while (words := self._outbox.words(self._plugin)) or under_way:
                busy = {word.subtask_id for word in under_way.values()} | self._sender.in_air
                for word in self._due(words, busy)[: TOLD_AT_ONCE - len(under_way)]:
                    under_way[group.create_task(self._tell(word))] = word
                await self._wait(under_way, self._seconds_to_next(busy))
                under_way = {task: word for task, word in under_way.items() if not task.done()}

    def _due(self, words: list[Word], busy: set[str]) -> list[Word]:
        now = asyncio.get_running_loop().time()
        self._tries = {word: self._tries.get(word, _Tries()) for word in words}
        return [
            word for word in words if word.subtask_id not in busy and self._tries[word].due <= now
        ]

    def _seconds_to_next(self, busy: set[str]) -> float:
        now = asyncio.get_running_loop().time()
        dues = [tries.due for word, tries in self._tries.items() if word.subtask_id not in busy]
        return min([LOOK_SECONDS, *(max(due - now, 0.01) for due in dues)])

    async def _wait(self, under_way: dict[asyncio.Task[None], Word], seconds: float) -> None:
        """Until a call is over, or it is time to look again."""
        if under_way:
            await asyncio.wait(under_way, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            await self._pause(seconds)

    def mended(self) -> None:
        """See ``Lane``."""
        for tries in self._tries.values():
            tries.due = 0.0
        super().mended()

    async def _tell(self, word: Word) -> None:
        tries = self._tries[word]
        outcome = _judged(await self._sender.tell(self._plugin, word), tries.count)
        if outcome.verdict is not Verdict.AGAIN or outcome.message != tries.problem:
            self._outbox.told(word, outcome)
        tries.count += 1
        tries.problem = outcome.message
        tries.due = asyncio.get_running_loop().time() + _seconds_after(outcome, tries.count)


def _judged(outcome: Outcome, tries: int) -> Outcome:
    """A signature may be refused once: it may have been sent before we were started again."""
    if tries == 0 and is_signature_refused(outcome):
        return replace(outcome, verdict=Verdict.AGAIN)
    return outcome


def _seconds_after(outcome: Outcome, tries: int) -> float:
    asked = min(outcome.retry_after or 0.0, LONGEST_ASKED)
    return max(asked, min(FIRST_PAUSE * 2.0 ** min(tries - 1, 10), LONGEST_PAUSE))


async def happened(event: asyncio.Event, seconds: float) -> bool:
    """Whether it did, within so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
