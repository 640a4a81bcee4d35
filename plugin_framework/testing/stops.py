"""Holds a run at one of its checkpoints until what was ordered for that place has arrived.

An extension of the run: it goes around ``ctx.checkpoint`` where the plugin's code runs, in the same
process or in one of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Literal, TypeAlias

from plugin_framework.isolation.channel import Channel
from plugin_framework.plugin.context import TaskContext
from plugin_framework.plugin.hookspecs import hookimpl

Kind: TypeAlias = Literal["pause", "cancel", "kill"]
Place: TypeAlias = str | int
"""The name of a checkpoint, or its number among those of ``process``, from 1."""

LOOK_SECONDS = 0.002
"""Between two looks at whether an order has arrived."""


LAST_SECONDS = 5.0
"""How long what a process said last may take to be read, once it has ended."""


@dataclass(slots=True)
class Course:
    """Where a run has come to: ``open`` are the orders whose place it has not met yet."""

    open: dict[Place, Kind] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)

    def reached(self, name: str) -> None:
        """It came to a checkpoint of that name."""
        self.names[name] = None

    def missed(self) -> str | None:
        """The place of an order to cancel or to kill that it did not come to, in words."""
        for place, kind in list(self.open.items()):
            if kind != "pause":
                again = " once more" if place in self.names else ""
                return f"come to the checkpoint {place!r}{again}, where it was to {_ENDS[kind]}"
        return None

    def __str__(self) -> str:
        named = ", ".join(repr(name) for name in list(self.names))
        return f"the named checkpoints it came to: {named or 'none'}"


_ENDS = {"cancel": "be cancelled", "kill": "be killed"}


class Stops:
    """The orders for one run; each counts once.

    ``held`` is told when one's place is met, and ``reached`` of each name that is met first.
    """

    def __init__(
        self, held: Callable[[Kind, Place], object], reached: Callable[[str], object]
    ) -> None:
        self._held = held
        self._reached = reached
        self._names: set[str] = set()
        self._lock = threading.Lock()
        self._orders: dict[Place, Kind] = {}
        self._count: int | None = None
        self._released = threading.Event()

    def order(self, kind: Kind, place: Place) -> bool:
        """Have this done at that place; False where the run is past it."""
        with self._lock:
            if isinstance(place, int) and place <= (self._count or 0):
                return False
            self._orders[place] = kind
            return True

    def release(self) -> None:
        """Let what is held go on, whatever has arrived."""
        self._released.set()

    @hookimpl(wrapper=True, tryfirst=True)
    def on_start(self, ctx: TaskContext[Any]) -> Generator[None, Any, Any]:
        """Go around the checkpoints of this context."""
        checkpoint = partial(self._checkpoint, ctx, ctx.checkpoint)
        ctx.checkpoint = checkpoint  # type: ignore[method-assign]  # for this one run
        return (yield)

    @hookimpl(wrapper=True, tryfirst=True)
    def process(self) -> Generator[None, Any, Any]:
        """Number the checkpoints from here on."""
        self._count = 0
        return (yield)

    def _checkpoint(
        self, ctx: TaskContext[Any], checkpoint: Callable[[str], None], name: str = ""
    ) -> None:
        kind, place = self._due(name)
        if kind is not None:
            self._released.clear()
            self._held(kind, place)
            while not (ctx.cancelled if kind == "cancel" else ctx.cancelled or ctx.paused):
                if self._released.wait(LOOK_SECONDS):
                    break
        checkpoint(name)

    def _due(self, name: str) -> tuple[Kind | None, Place]:
        with self._lock:
            if name and name not in self._names:
                self._names.add(name)
                self._reached(name)
            if self._count is not None:
                self._count += 1
                if self._count in self._orders:
                    return self._orders.pop(self._count), self._count
            return self._orders.pop(name, None) if name else None, name


class RemoteStops:
    """The same in a process of the plugin's own; the orders come over a socket."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel: Channel | None = None
        self._stops = Stops(
            lambda kind, place: self._send({"held": [kind, place]}),
            lambda name: self._send({"reached": name}),
        )

    @hookimpl(wrapper=True, tryfirst=True)
    def on_start(self, ctx: TaskContext[Any]) -> Generator[None, Any, Any]:
        """Take the orders there are, and then go around checkpoints."""
        self._channel = Channel(Client(self._address, "AF_UNIX"))
        self._send({"pid": os.getpid()})
        self._obey(self._channel.receive())
        threading.Thread(target=self._listen, daemon=True, name="stops").start()
        return (yield from self._stops.on_start(ctx))

    @hookimpl(wrapper=True, tryfirst=True)
    def process(self) -> Generator[None, Any, Any]:
        """As of ``Stops``."""
        return (yield from self._stops.process())

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while self._channel is not None:
                self._obey(self._channel.receive())

    def _obey(self, message: dict[str, Any]) -> None:
        if "release" in message:
            self._stops.release()
        else:
            taken = [self._stops.order(kind, place) for kind, place in message["orders"]]
            self._send({"taken": all(taken)})

    def _send(self, message: dict[str, Any]) -> None:
        if self._channel is not None:
            self._channel.send(message)


class StopsOf:
    """This end of ``RemoteStops``: one process at one address. ``pid`` is the process's."""

    def __init__(
        self,
        address: Path,
        held: Callable[[Kind, Place], object],
        reached: Callable[[str], object],
    ) -> None:
        self._held = held
        self._reached = reached
        self._listener = Listener(str(address), "AF_UNIX")
        self._changed = threading.Condition()
        self._orders: list[tuple[Kind, Place]] = []
        self._answers: list[bool] = []
        self._channel: Channel | None = None
        self._closed = False
        self.pid: int | None = None
        self._server = threading.Thread(target=self._serve, daemon=True, name="stops")
        self._server.start()

    def order(self, kind: Kind, place: Place) -> bool:
        """As of ``Stops``."""
        with self._changed:
            if self._channel is None:
                self._orders.append((kind, place))
                return True
            self._answers.clear()
            with suppress(OSError):
                self._channel.send({"orders": [(kind, place)]})
            self._changed.wait_for(lambda: self._answers or self._closed)
            return self._answers == [True]

    def release(self) -> None:
        """As of ``Stops``."""
        if self._channel is not None:
            with suppress(OSError):
                self._channel.send({"release": True})

    def await_pid(self, seconds: float) -> int | None:
        """The process, once it runs; None where it does not within that time, or has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self.pid or self._closed, seconds)
            return None if self._closed else self.pid

    def close(self) -> None:
        """The process is gone, or none will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self.pid is None:
            # Nothing else wakes a thread that waits in accept.
            with suppress(OSError):
                Client(str(self._listener.address), "AF_UNIX").close()
        self._server.join(LAST_SECONDS)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(EOFError, OSError):
            connection: Connection = self._listener.accept()
            with connection:
                self._listen(Channel(connection))
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _listen(self, channel: Channel) -> None:
        pid = channel.receive()["pid"]
        with self._changed:
            channel.send({"orders": self._orders})
            channel.receive()
            self._channel, self.pid = channel, pid
            self._changed.notify_all()
        while True:
            message = channel.receive()
            if "held" in message:
                self._held(*message["held"])
            elif "reached" in message:
                self._reached(message["reached"])
            else:
                with self._changed:
                    self._answers.append(message["taken"])
                    self._changed.notify_all()
