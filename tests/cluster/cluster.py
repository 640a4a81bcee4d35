"""A Datahub, a broker, a store, and whatever services and nodes a test starts on them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

from plugin_framework.emulator.store import Store as DatahubStore
from plugin_framework.protocol.models import TaskStatus
from tests.cluster.amqp_client import queues_of
from tests.cluster.ledger import Ledger
from tests.cluster.plugins import Mark
from tests.cluster.processes import Command, Service, Worker, until
from tests.free_ports import free_port
from tests.service.calling import KEY, SECRET

CommandT = TypeVar("CommandT", bound=Command)

PLUGINS = "tests.cluster.plugins"
READY = "takes subtasks"
LOOPBACK = "127.0.0.1"
RUNNING, PAUSED, CANCELLED = 1, 2, 4


class Datahub:
    """A local Datahub as a process; ``store`` is its state."""

    def __init__(self, folder: Path, *, host: str = LOOPBACK) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        secret = folder / "secret"
        secret.write_text(SECRET, encoding="utf-8")
        self._state = folder / "state"
        self.process = Command(
            *("emulator", "--host", host, "--port", "0", "--state", self._state),
            *("--key", KEY, "--secret-file", secret),
            env={},
        )

    def __enter__(self) -> Self:
        self.process.__enter__()
        try:
            self.url = self.process.printed().removeprefix("page: ").removesuffix("/")
            self.store = DatahubStore(self._state)
        except BaseException:
            self.process.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()
        self.process.__exit__()


class Cluster:
    """Services and nodes, which are ended at the end. ``store`` is a URL, empty for the journal.

    ``ledger`` has what all of them tell Datahub; ``env`` are the settings that they share.
    """

    def __init__(self, folder: Path, datahub: Datahub, *, broker: str, store: str) -> None:
        self.folder = folder
        self.datahub = datahub
        self.marks_file = folder / "marks"
        self.env = {
            "DATAHUB_ENGINE": "celery",
            "DATAHUB_BROKER_URL": broker,
            "DATAHUB_HEARTBEAT_SECONDS": "1",
            "DATAHUB_POLL_SECONDS": "1",
            "DATAHUB_GRACE_SECONDS": "5",
            "DATAHUB_MAX_CONCURRENCY": "2",
            **({"DATAHUB_STORE_URL": store} if store else {}),
        }
        self.broker = broker
        self.processes: list[Command] = []
        self._has_store = bool(store)
        self._port = free_port()
        self._doors: dict[tuple[str, str], str] = {}
        self._made = ExitStack()
        self._prefix = secrets.token_hex(3)
        self._count = 0

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ledger = self._made.enter_context(Ledger(self.datahub.url))
        return self

    def __exit__(self, *_: object) -> None:
        self._made.close()

    # Processes

    def service(self, *plugins: str, **env: Any) -> Service:
        """A service of these plugins of ours; where there was one before, another life of it."""
        given = {**self.settings("service"), **_upper(env)}
        service = Service(*map(reference, plugins), port=self._port, env=given)
        return self._start(service)

    def local_service(self, *plugins: str) -> Service:
        """A service that runs subtasks itself, beside the others."""
        state = str(self.folder / "local")
        given = {**self.settings("local"), "DATAHUB_ENGINE": "local", "DATAHUB_STATE_DIR": state}
        return self._start(Service(*map(reference, plugins), port=free_port(), env=given))

    def worker(
        self,
        label: str,
        *plugins: str,
        options: Sequence[str] = (),
        before: Sequence[str] = (),
        address: str = LOOPBACK,
        ready: bool = True,
        **env: Any,
    ) -> Worker:
        """A node that runs these plugins of ours; waited for until it takes subtasks."""
        given = {**self.settings(label, address), **_upper(env)}
        worker = Worker(label, *map(reference, plugins), *options, env=given, before=before)
        self._start(worker)
        if ready:
            worker.said(READY)
        return worker

    def workers(self, labels: str, *plugins: str, **env: Any) -> list[Worker]:
        """Nodes of these labels, parted by blanks; they start side by side."""
        found = [self.worker(label, *plugins, ready=False, **env) for label in labels.split()]
        for worker in found:
            worker.said(READY)
        return found

    def command(self, *arguments: str, **env: Any) -> Command:
        """Another command with the same settings, such as doctor."""
        given = {
            **self.settings("command"),
            "DATAHUB_API_KEY": KEY,
            "DATAHUB_API_SECRET": SECRET,
            **_upper(env),
        }
        return self._start(Command(*arguments, env=given))

    def settings(self, source: str, address: str = LOOPBACK) -> dict[str, str]:
        """Of a process that reaches Datahub by a door of its own."""
        door = self._doors.get((source, address)) or self.ledger.door(source, address)
        self._doors[source, address] = door
        state = self.folder / (source if self._has_store else "shared")
        return {**self.env, "DATAHUB_BASE_URL": door, "DATAHUB_STATE_DIR": str(state)}

    def _start(self, process: CommandT) -> CommandT:
        self.processes.append(process)
        self._made.enter_context(process)
        return process

    # Subtasks

    def new(self, count: int = 1) -> list[str]:
        """Subtasks that Datahub knows, and nobody else yet."""
        first, self._count = self._count, self._count + count
        names = [f"{self._prefix}-{number}" for number in range(first, self._count)]
        for name in names:
            self.datahub.store.create_subtask(name)
        return names

    def create(
        self, service: Service, plugin: str, config: Mapping[str, Any] | None = None, count: int = 1
    ) -> list[str]:
        """Subtasks that the service has taken; they leave their marks in ``marks``."""
        names = self.new(count)
        given = {"marks": str(self.marks_file), **(config or {})} if plugin != "Nothing" else {}
        for name in names:
            answer = service.call.create(name, given, plugin=plugin)
            assert answer.fate == (200, 0), answer.body
        return names

    def manage(self, service: Service, subtask: str, status: int) -> None:
        """Have Datahub ask for a status, and tell the service."""
        self.ask(subtask, status)
        answer = service.call.manage(subtask, status)
        assert answer.fate == (200, 0), answer.body

    def ask(self, subtask: str, status: int) -> None:
        """Have Datahub ask for a status, which notify then says, and tell nobody."""
        self.datahub.store.set_status(subtask, TaskStatus(status))

    # What came of them

    @property
    def marks(self) -> list[Mark]:
        return Mark.all_in(self.marks_file)

    def runs(self, subtask: str) -> list[Mark]:
        """Of a subtask, each time that user code was begun."""
        return [mark for mark in self.marks if mark.subtask == subtask and not mark.what]

    def queue(self, plugin: str) -> str:
        """The name of the queue of a plugin that needs nothing in particular."""
        return f"datahub.{plugin}.c1"

    def depth(self, plugin: str) -> int:
        """How many messages nobody has taken."""
        with queues_of(self.broker) as queues:
            return queues.depth(self.queue(plugin))

    def wait_for_runs(self, count: int) -> list[Mark]:
        """The runs, once there are so many in all."""

        def begun() -> list[Mark]:
            runs = [mark for mark in self.marks if not mark.what]
            return runs if len(runs) >= count else []

        found: list[Mark] = until(begun, f"{count} runs of user code")
        return found


def reference(plugin: str) -> str:
    """What the command takes for a plugin of ours."""
    return f"{PLUGINS}:{plugin}" if plugin[0].isupper() else plugin


def _upper(env: Mapping[str, Any]) -> dict[str, str]:
    return {f"DATAHUB_{name.upper()}": value for name, value in env.items()}
