"""A service under chaos for hours: nothing is lost, no byte is wrong, and nothing grows.

Subtasks of all kinds come at a steady rate, while Datahub and storage fail, Datahub goes down, and
processes are killed. The service is killed, too, in two spells; in between it lives on, so that
what it takes can be watched. ``SECONDS`` (7,200), ``RATE`` (subtasks a second), ``SEED`` and
``FIGURES`` (a file for all samples, as JSON) come from the environment. SIGTERM ends it early, with
what was found so far. Exit code 1 says that a promise was broken, and the lines above which.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soaking.checks import Checks, Expected, Marks
from benchmarks.soaking.findings import Findings
from benchmarks.soaking.parties import PRUNED_SECONDS, Datahub, Service
from benchmarks.soaking.samples import OF_A_LIFE, OF_THE_RUN, children_of, lives_of, look, trends
from benchmarks.soaking.work import KINDS, LARGE, SIZES, Inputs
from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.store import Assignment, Store
from plugin_framework.protocol.models import TaskStatus
from tests.free_ports import free_ports

PLUGINS = ("benchmarks.soaking.work:Works", "benchmarks.soaking.work:Threads")
ENDED = frozenset({TaskStatus.COMPLETED, TaskStatus.CANCELLED, TaskStatus.FAILED})
GONE_SECONDS = 3.0
"""How long storage may be away at the most: the retries of a transfer take longer than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done when; ``life`` is how long the service must have lived for it to be judged.

    ``pace`` is how many times as long as by default the work of a subtask takes.
    ``spells`` are the times in which the service is killed, in parts of the whole; ``kills``,
    ``hits`` and ``outages`` are mean seconds between kills of the service, of what it has started,
    and between outages of ``outage`` seconds at most. ``settle`` is how long after its end a
    subtask is looked at, and ``drain`` how long all of them may take to end.
    """

    seconds: float = 7200
    rate: float = 0.8
    pace: float = 1
    seed: int = 0
    sample: float = 2
    spells: tuple[tuple[float, float], ...] = ((0, 0.2), (0.65, 0.7))
    kills: float = 20
    hits: float = 15
    outages: float = 60
    outage: float = 30
    life: float = 120
    settle: float = 10
    drain: float = 300
    plugins: tuple[str, ...] = PLUGINS

    def kills_at(self, seconds: float) -> bool:
        """Whether the service may be killed then."""
        return any(begin <= seconds / self.seconds < end for begin, end in self.spells)


class Soak:
    """One run of a plan."""

    def __init__(self, place: Path, plan: Plan) -> None:
        self.plan = plan
        self.found = Findings()
        self._place = place
        self._rng = random.Random(plan.seed)
        self._inputs = Inputs(place, self._rng)
        datahub_port, port = free_ports(2)
        self._service = Service(place, f"http://127.0.0.1:{datahub_port}", plan.plugins, port)
        self._datahub = Datahub(place, datahub_port, self._service.url, plan.seed)
        self._marks = Marks(place / "marks")
        self._open: set[str] = set()
        self._settling: deque[tuple[float, str]] = deque()
        self._held: set[str] = set()
        self._revision = 0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._count = itertools.count()
        self._began = time.monotonic()
        self._well_from = 0.0
        self._is_enough = False

    def enough(self) -> None:
        """Let no more come, and judge what there was."""
        self._is_enough = True

    def run(self) -> Findings:
        """Do it all."""
        with closing(Store(self._place / "datahub")) as self._store:
            self._checks = Checks(self.found, self._store, self._inputs, self._marks, self._service)
            self._datahub.start()
            try:
                with self._service:
                    self._service.wait()
                    self._began = time.monotonic()
                    self._soak()
                    self._drain()
                    code = self._service.end(signal.SIGTERM)
                    if code != 0:
                        self.found.complain(f"the service exited with {code} at the end")
            finally:
                self._datahub.stop()
            self._checks.again()
        self._checks.what_is_left()
        self.found.faults = self._datahub.faults
        self._judge()
        return self.found

    # What happens when

    def _soak(self) -> None:
        plan = self.plan
        for mean, act in (
            (1 / plan.rate, self._create),
            (plan.kills, self._kill_service),
            (plan.hits, self._kill_below),
            (plan.outages, self._break_datahub),
        ):
            self._again(mean, act)
        for begin, end in plan.spells:  # one at least, whatever the lot says
            self._at((begin + end) / 2 * plan.seconds, self._kill_service)
        for seconds, act in (
            (plan.sample, self._sample),
            (1.0, self._look_for_ends),
            (PRUNED_SECONDS / 2, self._service.prune),
            (60.0, self._say),
        ):
            self._every(seconds, act)
        while (now := self._now()) < plan.seconds and not self._is_enough:
            self._restart_what_ended()
            self._act(now)
            time.sleep(0.05)
        self._due = []

    def _drain(self) -> None:
        """Let all come to their end, in good weather."""
        self._datahub.clear_up()
        for name in sorted(self._held):
            self._resume(name)  # it was due later
        deadline = time.monotonic() + self.plan.drain
        while (self._open or self._settling) and time.monotonic() < deadline:
            self._restart_what_ended()
            self._look_for_ends()
            time.sleep(0.2)
        for name in sorted(self._open):
            self._checks.lost(name)

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _act(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()

    def _at(self, seconds: float, act: Callable[[], object]) -> None:
        heapq.heappush(self._due, (self._now() + seconds, next(self._count), act))

    def _again(self, mean: float, act: Callable[[], object]) -> None:
        """Do it again and again, at random moments."""

        def one() -> None:
            act()
            self._again(mean, act)

        self._at(self._rng.expovariate(1 / mean), one)

    def _every(self, seconds: float, act: Callable[[], object]) -> None:
        def one() -> None:
            act()
            self._every(seconds, act)

        self._at(seconds, one)

    # What Datahub asks for

    def _create(self) -> None:
        words, weights = list(KINDS), [kind.weight for kind in KINDS.values()]
        words += self._rng.choices(words, weights)
        word = words[min(len(self._checks.expected), len(KINDS))]  # each once, then by lot
        kind, name = KINDS[word], f"soak-{len(self._checks.expected)}-{word}"
        number = (
            self._rng.randrange(LARGE, len(SIZES)) if kind.large else self._rng.randrange(LARGE)
        )
        plugin = self._rng.choice(kind.plugins)
        seconds = self._rng.uniform(*kind.seconds) * self.plan.pace
        config = {"kind": word, "marks": str(self._marks.path), "seconds": seconds}
        self._checks.expected[name] = Expected(word, number, kind.ends, plugin)
        self._open.add(name)
        self._store.create_subtask(
            name,
            input=self._inputs.paths[number],
            config=config,
            assignment=Assignment(plugin, self._service.url),
        )
        self.found.done["created"] += 1
        later = self._rng.uniform(0.5, 10) * self.plan.pace
        if word == "held":
            self._held.add(name)
            self._at(later, lambda: self._ask(name, TaskStatus.PAUSED))
            self._at(later + self._rng.uniform(0, 8) * self.plan.pace, lambda: self._resume(name))
        if word in {"dropped", "deaf"}:
            self._at(later, lambda: self._ask(name, TaskStatus.CANCELLED))

    def _ask(self, name: str, status: TaskStatus) -> None:
        with suppress(Refused):  # it has ended
            self._store.set_status(name, status)
            self.found.done[f"asked for {status.name}"] += 1

    def _resume(self, name: str) -> None:
        # Whatever it is just now: a service that starts again goes on with it, and pauses it.
        self._held.discard(name)
        self._ask(name, TaskStatus.RUNNING)

    # What goes wrong

    def _kill_service(self) -> None:
        if self.plan.kills_at(self._now()):
            number = self._rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
            self.found.done[f"service {number.name}"] += 1
            code = self._service.end(number)
            if code not in {0, -signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM}:
                self.found.complain(f"the service exited with {code} at {number.name}")
            self._service.start()

    def _kill_below(self) -> None:
        """Kill a plugin's process, or what they are all forked from."""
        if not self._service.is_alive():
            return  # what it has not started yet cannot be missed
        if self._rng.random() < 0.1:  # noqa: PLR2004 - it takes all of them along
            for child in children_of(self._service.process.pid):
                self._excuse(self._open)
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                    self.found.done["fork server SIGKILL"] += 1
        else:
            running = [
                (name, process)
                for name in sorted(self._open)
                for process in self._marks.living(name)
            ]
            if running:
                name, process = self._rng.choice(running)
                self._excuse({name})
                with suppress(ProcessLookupError):
                    os.kill(int(process.partition("@")[0]), signal.SIGKILL)
                    self.found.done["plugin SIGKILL"] += 1

    def _excuse(self, names: set[str]) -> None:
        """Let subtasks fail whose process is killed."""
        for name in names:
            expected = self._checks.expected[name]
            if expected.plugin == "Works":
                expected.ends |= {TaskStatus.FAILED}

    def _break_datahub(self) -> None:
        """Have Datahub away for a while; storage is away with it for moments at the most.

        A subtask whose files cannot be had for long fails, and rightly.
        """
        if self._now() < self._well_from:
            return
        # What cannot be connected to is storage as well.
        is_gone = self._rng.random() < 0.5  # noqa: PLR2004 - as often as not
        seconds = self._rng.uniform(1, GONE_SECONDS if is_gone else self.plan.outage)
        self._well_from = self._now() + seconds + GONE_SECONDS
        if is_gone:
            self.found.done["Datahub and storage gone"] += 1
            self._datahub.stop()
            self._at(seconds, self._datahub.start)
        else:
            self.found.done["outage of Datahub"] += 1
            self._datahub.reset_for(seconds)

    def _restart_what_ended(self) -> None:
        if self._service.process.poll() is not None:
            self.found.complain(f"the service ended by itself: {self._service.process.returncode}")
            self._service.start()

    # What is seen

    def _sample(self) -> None:
        if self._service.is_alive():
            sample = look(self._service.process.pid, self._service.state)
            self.found.samples += [sample] if sample else []

    def _look_for_ends(self) -> None:
        self._marks.read()
        for subtask in self._store.changed_since(self._revision):
            self._revision = max(self._revision, subtask.revision)
            if subtask.status in ENDED and subtask.subtask_id in self._open:
                self._open.remove(subtask.subtask_id)
                self._settling.append((self._now() + self.plan.settle, subtask.subtask_id))
        while self._settling and self._settling[0][0] <= self._now():
            self._checks.ended(self._settling.popleft()[1])

    def _judge(self) -> None:
        lives = lives_of(self.found.samples, self.plan.life)
        for life in lives:
            self.found.trends += trends(life, OF_A_LIFE)
        if lives:
            self.found.trends += trends(self.found.samples, OF_THE_RUN)
        for trend in self.found.trends:
            if not trend.flat:
                self.found.complain(f"it grows: {trend}")

    def _say(self) -> None:
        created, wrong = len(self._checks.expected), len(self.found.wrong)
        line = f"{self._now():.0f} s: {created} created, {len(self._open)} open, {wrong} wrong"
        for one in self.found.samples[-1:]:
            line += f"; {one.rss >> 20} MiB, {one.threads} threads, {one.handles} files"
        print(line, flush=True)


def run(plan: Plan) -> Findings:
    """Run a plan, and print what was found."""
    print(f"seed {plan.seed}, {plan.seconds:g} s", flush=True)
    began, before = time.monotonic(), sum(os.times()[:4])
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), plan)
        signal.signal(signal.SIGTERM, lambda _number, _frame: soak.enough())
        found = soak.run()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    found.cores = (sum(os.times()[:4]) - before) / (time.monotonic() - began)
    if not found.trends:
        print(f"no service lived for {plan.life:g} s: whether anything grows was not judged")
    print(*found.table(), sep="\n")
    return found


def main() -> None:
    """Run the plan of the environment; exit with 1 where a promise was broken."""
    plan = Plan(
        seconds=float(os.environ.get("SECONDS", "7200")),
        rate=float(os.environ.get("RATE", "0.8")),
        seed=int(os.environ.get("SEED", time.time_ns() % 10**6)),
    )
    found = run(plan)
    if figures := os.environ.get("FIGURES"):
        Path(figures).parent.mkdir(parents=True, exist_ok=True)
        Path(figures).write_text(json.dumps(found.as_json()), encoding="utf-8")
    if found.wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
