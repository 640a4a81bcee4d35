"""``datahub-plugin emulator bench``: real services, measured for some seconds."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.calling import Ended, call
from tests.cli.running import Running, until
from tests.free_ports import free_port
from tests.service.calling import SIGNED, ServiceProcess

pytestmark = pytest.mark.long

BENCH = ("emulator", "bench")
SYNTHETIC = "plugin_framework.testing.synthetic:Synthetic"
DEADLY = """
import logging, os, signal
from plugin_framework import DatahubPlugin

logging.getLogger("deadly").warning("serving more on http://127.0.0.1:9")  # not for us to hear

class Deadly(DatahubPlugin):
    isolation = "thread"

    def process(self, ctx):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def datahub_port() -> str:
    """Where the service reports to while it is measured."""
    return str(free_port())


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, datahub_port: str
) -> Iterator[ServiceProcess]:
    """One that runs already: a place for one task, and room for another one."""
    limits = {"DATAHUB_MAX_CONCURRENCY": "1", "DATAHUB_MAX_QUEUE": "1"}
    state, datahub = tmp_path_factory.mktemp("state"), f"http://127.0.0.1:{datahub_port}"
    with ServiceProcess(state, datahub, SYNTHETIC, **limits) as started:
        yield started


def test_the_service_of_a_plugin_is_started_measured_and_ended(tmp_path: Path) -> None:
    picture = tmp_path / "report.svg"
    given = ("seconds=0.2", "input_bytes=100000", "output_bytes=3000000", "heartbeats=2")
    sets = [word for one in given for word in ("--set", one)]
    with Running(
        *BENCH, "--tasks", "3", "--rate", "5", *sets, "--out", picture, "--json", cwd=tmp_path
    ) as running:
        running.wait_for(lambda: running.out)
        assert running.process.wait(60) == 0
        assert running.family.alive() == set()
    (line,) = running.out
    figures = json.loads(line)
    assert {name: figures[name] for name in ("offered", "accepted", "completed", "failed")} == {
        "offered": 3,
        "accepted": 3,
        "completed": 3,
        "failed": 0,
    }
    assert figures["run"]["p50"] >= 0.2
    assert figures["result"]["max"] >= figures["wait"]["max"]
    assert figures["limit"]
    assert ET.parse(picture).getroot().tag.endswith("svg")
    assert [line for line in running.err if "problem" in line] == []


def test_a_service_that_runs_already_is_measured_and_says_when_it_is_full(
    tmp_path: Path, service: ServiceProcess, datahub_port: str
) -> None:
    ended = _measured(tmp_path, service, datahub_port, "--tasks", "6", "--rate", "50")
    assert ended.code == 0, ended.err
    head, *table = ended.out.splitlines()
    assert head == "offered 6   accepted 2   refused busy 4   completed 2   failed 0"
    assert table[0].split() == ["p50", "p90", "p99", "max"]
    assert "4 more were refused because the queue was full" in table[-1]


def test_an_early_end_shows_what_was_measured_and_leaves_nothing_running(
    tmp_path: Path, service: ServiceProcess, datahub_port: str
) -> None:
    options = ("--service", service.url, "--port", datahub_port, "--set", "seconds=600")
    with Running(*BENCH, *options, "--tasks", "2", "--rate", "50", cwd=tmp_path, **SIGNED) as run:
        lines = len(service.lines)
        until(lambda: [x for x in service.lines[lines:] if "running" in x["message"]], "a start")
        assert run.end(signal.SIGINT) == 130
    assert run.out[0].endswith("completed 0   failed 0   unfinished 2")
    assert run.err[-1].endswith("2 tasks that had not ended were cancelled")
    ends = [x for x in service.lines if "cancelled" in x["message"]]
    assert ends


def test_a_service_that_dies_is_said_to_have(tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    ended = call(*BENCH, "deadly:Deadly", "--tasks", "2", "--rate", "9", "--json", cwd=tmp_path)
    assert ended.code == 1
    assert ended.outcome["completed"] == 0
    assert ended.err.splitlines()[-1].endswith("the service's first problem: it has ended")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (("--tasks", "0"), "--tasks"),
        (("--rate", "nan"), "--rate"),
        (("--input", "none.csv"), "none.csv"),
        (("--config", "[]"), "not a JSON object"),
        (("--out", "none/report.svg"), "--out none/report.svg cannot be written"),
        (("no-such-plugin",), "no plugin is called 'no-such-plugin'"),
        (("name", "--service", "http://127.0.0.1"), "not both"),
        (("--service", "http://[::1"), "expected an http:// or https:// address"),
        (("--service", "http://127.0.0.1:9"), "does not answer"),
        (("--set", "seconds=long"), "config.seconds"),
    ],
)
def test_bad_input_is_one_line(given: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    ended = call(*BENCH, *given, "--port", str(free_port()), cwd=tmp_path)
    assert ended.code == 2
    *_, line = ended.problems
    assert problem in line
    assert len(ended.problems) == 1 + (problem == "config.seconds")


def test_a_wrong_secret_and_a_port_that_is_taken_are_one_line_each(
    tmp_path: Path, service: ServiceProcess, datahub_port: str
) -> None:
    ended = call(*BENCH, "--service", service.url, "--port", datahub_port, cwd=tmp_path)
    assert ended.code == 2
    assert "HTTP 401" in ended.problems[0]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        ended = call(*BENCH, "--service", service.url, "--port", port, cwd=tmp_path)
    assert ended.code == 2
    assert f"--port {port}: Address already in use" in ended.problems[0]


def _measured(tmp_path: Path, service: ServiceProcess, port: str, *options: str) -> Ended:
    given = ("--service", service.url, "--port", port, "--set", "seconds=0.5", *options)
    return call(*BENCH, *given, cwd=tmp_path, env=SIGNED)
