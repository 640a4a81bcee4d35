"""The server as the command has it: in the foreground, or on a thread."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from plugin_framework.emulator import Credentials, Store
from plugin_framework.emulator.server import Server
from plugin_framework.emulator.settings import ServerSettings
from tests.emulator.calling import send
from tests.emulator.local_api.calling import Local, Stream, task

PROGRAM = """
import pathlib, sys
from plugin_framework.emulator.server import serve
from plugin_framework.emulator.settings import ServerSettings
settings = ServerSettings(state_dir=pathlib.Path(sys.argv[1]))
print(serve(settings, lambda url: print(url, flush=True)))
"""


@contextmanager
def served(settings: ServerSettings) -> Iterator[Server]:
    server = Server(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with Stream(url) as stream:
            stream.next("tasks")
            process.send_signal(number)
            said, complaints = process.communicate(timeout=30)
            assert list(stream.until("nothing")) == []
    assert (said, complaints, process.returncode) == (f"{int(number)}\n", "", 0)


def test_what_was_made_is_there_at_the_next_start(tmp_path: Path) -> None:
    settings = ServerSettings(state_dir=tmp_path)
    with served(settings) as server, closing(Store(tmp_path)) as store:
        store.create_subtask("a")
        key = Local(server.url).send("PUT", "inputs", b"kept", name="a").json["input"]
    with served(settings) as server, closing(Store(tmp_path)) as store:
        assert Local(server.url).json("tasks")["total"] == 1
        assert Local(server.url).post(task("a", "/cancel")).status == 200
        assert list(store.read(str(key))) == [b"kept"]


def test_a_stop_that_comes_first_is_a_stop(tmp_path: Path) -> None:
    server = Server(ServerSettings(state_dir=tmp_path))
    server.stop()
    assert server.run() is None


def test_on_all_addresses_it_goes_by_the_one_it_is_reached_at(tmp_path: Path) -> None:
    """No name is taken that a foreign site could have: only addresses, and its own."""
    settings = ServerSettings(
        state_dir=tmp_path,
        host="0.0.0.0",
        allow_wildcard=True,
        public_url="http://datahub.test:8765",
    )
    with served(settings) as server:
        assert server.url == "http://datahub.test:8765"
        port = server.port
        url = f"http://127.0.0.2:{port}/local/info"
        assert send("GET", url).status == 200
        for host, status in (
            ("datahub.test:8765", 200),
            ("127.0.0.3", 403),
            ("10.0.0.1", 403),
            ("evil.example", 403),
        ):
            assert send("GET", url, None, [("Host", host)]).status == status, host


def test_settings_go_through_a_pipe_whole(tmp_path: Path) -> None:
    settings = ServerSettings(
        state_dir=tmp_path,
        credentials=Credentials("k", "ü\n"),
        services=("http://127.0.0.1:1",),
        chaos={"rules": []},
        lost_after=1.5,
    )
    line = settings.as_line()
    assert line.count("\n") == 1
    assert ServerSettings.of_line(line) == settings
    assert "ü" not in repr(settings)
