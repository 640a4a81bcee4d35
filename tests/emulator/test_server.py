"""The server's process: starting, ending, and what outlives it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import struct
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from plugin_framework.emulator import Credentials, Emulator, objects
from plugin_framework.emulator.store import Store
from plugin_framework.errors import ConfigurationError
from tests.emulator.calling import MIB, Plugin, eventually, send


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def is_listening(url: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(url), timeout=5)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return False
    finally:
        connection.close()
    return True


def has_ended(pid: int) -> bool:
    """Whether it is gone, or a zombie that waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_state_outlives_a_kill(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path) as emulator:
        port = port_of(emulator.url)
        emulator.store.create_subtask("a")
        plugin = Plugin(emulator.url)
        plugin.status("a", 1)
        data = plugin.init("a", 5 * MIB + 1, chunk_size=5 * MIB).data
        urls = [part["url"] for part in data["part_upload_urls"]]
        etags = [send("PUT", urls[0], b"a" * 5 * MIB).headers["etag"]]
        os.kill(emulator.pid, signal.SIGKILL)
        assert eventually(lambda: not is_listening(plugin.url))
    (tmp_path / "objects" / "half-written").write_bytes(b"x")
    with Emulator(state_dir=tmp_path, port=port) as emulator:
        etags.append(send("PUT", urls[1], b"b").headers["etag"])
        assert plugin.complete("a", data["upload_id"], etags).json["code"] == 0
        assert plugin.result("a", {"total_counts": 1}).json["code"] == 0
        (output,) = emulator.store.outputs("a")
        assert output.path.read_bytes() == b"a" * 5 * MIB + b"b"
        assert list((tmp_path / "objects").iterdir()) == [output.path]
    kinds = ["status", "upload_init", "upload", "result"]
    with Emulator(state_dir=tmp_path) as emulator:
        assert [event.kind for event in emulator.store.events("a")] == kinds


def test_a_url_expires_by_the_servers_clock(tmp_path: Path) -> None:
    source = tmp_path / "input"
    source.write_bytes(b"x")
    with Emulator(state_dir=tmp_path / "state", url_lifetime=1) as emulator:
        emulator.store.create_subtask("a", input=source)
        url = Plugin(emulator.url).download_url("a")
        assert eventually(lambda: send("GET", url).status == 403)
        assert send("GET", url).element("Message") == "Request has expired"


def test_the_end_is_quick_and_whole(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path) as emulator:
        url, pid = emulator.url, emulator.pid
        idle = http.client.HTTPConnection("127.0.0.1", port_of(url))
        idle.connect()
    assert has_ended(pid)
    assert not is_listening(url)
    idle.close()


def test_sigterm_ends_it(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path) as emulator:
        emulator.store.create_subtask("a")
        assert Plugin(emulator.url).status("a", 1).status == 200
        os.kill(emulator.pid, signal.SIGTERM)
        assert eventually(lambda: has_ended(emulator.pid))


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, signal, sys; from plugin_framework.emulator import Emulator\n"
        "emulator = Emulator(state_dir=pathlib.Path(sys.argv[1])).__enter__()\n"
        "print(emulator.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    assert eventually(lambda: has_ended(pid))


def test_ctrl_c_is_not_for_the_server(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path) as emulator:
        assert os.getpgid(emulator.pid) != os.getpgid(0)


def test_secrets_are_in_no_argument_and_no_environment(tmp_path: Path) -> None:
    secret = "a-secret-of-this-test"
    with Emulator(state_dir=tmp_path, key="k", secret=secret) as emulator:
        emulator.store.create_subtask("a")
        assert Plugin(emulator.url, "k", secret).status("a", 1).json["code"] == 0
        for name in ("cmdline", "environ"):
            assert secret.encode() not in Path(f"/proc/{emulator.pid}/{name}").read_bytes()
    assert secret not in repr(Credentials("k", secret))
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()


def test_nothing_is_logged_of_what_goes_right_or_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "input"
    source.write_bytes(b"x")
    with Emulator(state_dir=tmp_path / "state") as emulator:
        emulator.store.create_subtask("a", input=source)
        url = Plugin(emulator.url).download_url("a")
        assert send("GET", url).body == b"x"
        assert send("GET", url + "0").status == 403
        assert send("GET", emulator.url + "/nothing").status == 404
    assert capfd.readouterr() == ("", "")


def test_memory_stays_flat(tmp_path: Path) -> None:
    size = 256 * MIB
    source = tmp_path / "input"
    with source.open("wb") as file:
        file.truncate(size)
    with Emulator(state_dir=tmp_path / "state") as emulator:
        emulator.store.create_subtask("a", input=source)
        plugin = Plugin(emulator.url)
        plugin.status("a", 1)
        upload = plugin.init("a", size).data["part_upload_urls"][0]["url"]
        before = peak_memory(emulator.pid)
        assert len(send("GET", plugin.download_url("a")).body) == size
        assert send("PUT", upload, bytes(size)).status == 200
        assert peak_memory(emulator.pid) - before < 48 * 1024


@pytest.mark.parametrize("linger", [0, 1])
def test_who_leaves_in_the_middle_is_no_trouble(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], linger: int
) -> None:
    source = tmp_path / "input"
    with source.open("wb") as file:
        file.truncate(256 * MIB)
    with Emulator(state_dir=tmp_path / "state") as emulator:
        emulator.store.create_subtask("a", input=source)
        plugin = Plugin(emulator.url)
        url = urlsplit(plugin.download_url("a"))
        with socket.create_connection((url.hostname, url.port), timeout=30) as connection:
            # With it, the connection is reset and not closed.
            reset = struct.pack("ii", linger, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            request = f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n"
            connection.sendall(request.encode())
            with connection.makefile("rb") as answer:
                assert len(answer.read(MIB)) == MIB
        assert plugin.status("a", 1).json["code"] == 0
        assert eventually(lambda: not is_open(emulator.pid, source))
    assert capfd.readouterr() == ("", "")


def is_open(pid: int, path: Path) -> bool:
    """Whether a process has that file open, by whatever name."""
    inode = path.stat().st_ino
    for name in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if name.stat().st_ino == inode:
                return True
    return False


def peak_memory(pid: int) -> int:
    """KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def test_key_and_secret_go_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="together"):
        Emulator(state_dir=tmp_path, key="k")


def test_a_port_can_be_asked_for(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path / "a") as first:
        port = port_of(first.url)
        with pytest.raises(ConfigurationError, match=f"--port {port}: Address already in use"):
            Emulator(state_dir=tmp_path / "b", port=port).__enter__()


def test_who_else_opens_the_state_here_takes_no_locks_away(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        store.create_subtask("a")
        Store(tmp_path).close()
        # The last one to close a database removes its log. Another process is not the last.
        other = f"import sqlite3; d = sqlite3.connect({str(tmp_path / 'datahub.sqlite3')!r})"
        subprocess.run(
            [sys.executable, "-c", f"{other}; d.execute('SELECT * FROM subtasks'); d.close()"],
            check=True,
        )
        assert (tmp_path / "datahub.sqlite3-wal").exists()
        assert store.subtask("a").subtask_id == "a"


def test_an_input_that_is_just_being_linked_outlives_the_start_of_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "input.bin"
    source.write_bytes(b"x")
    with closing(Store(tmp_path / "state")) as store:
        linked = store.objects.path(store.objects.link(source))  # its row comes in a moment
        with Emulator(state_dir=tmp_path / "state") as emulator:
            assert eventually(lambda: is_listening(emulator.url))
            assert send("GET", emulator.url + "/local/chaos").status == 200
        assert linked.exists()
        monkeypatch.setattr(objects, "LINK_SECONDS", 0)
        store.objects.sweep()  # whoever linked it was killed, and that was long ago
        assert not linked.exists()
        assert source.exists()
