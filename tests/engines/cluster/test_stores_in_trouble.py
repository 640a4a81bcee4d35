"""Servers that die, hang, refuse or forget: nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
import redis

from plugin_framework.engines.cluster.records import Ending, Lease, SharedUpload
from plugin_framework.engines.cluster.redis import RedisStore
from plugin_framework.engines.cluster.store import LeaseStore, open_store
from plugin_framework.errors import ClusterConfigurationError, Code, StoreUnreachableError
from plugin_framework.journal.journal import Journal
from plugin_framework.settings import Settings
from tests.cluster import stores
from tests.cluster.stores import PostgresServer, RedisServer, Store
from tests.engines.cluster.conftest import opened, running
from tests.free_ports import free_port

DEADLINE = 60.0
SECRET = "s3cret-word"
DONE = Ending(3, "/result", b"{}", {"status": "completed"})
SERVERS = [kind for kind in stores.KINDS if kind != "journal"]
Server = RedisServer | PostgresServer

WRITER = """
import sys
from pathlib import Path
from plugin_framework.engines.cluster.journal_store import JournalStore
from plugin_framework.engines.cluster.records import Ending
from plugin_framework.journal.journal import Journal
store = JournalStore(Journal(Path(sys.argv[1])))
lease = store.acquire("s", "one", seen=None)
for number in range(100_000):
    store.save_state(lease, {"n": number})
    print(number, flush=True)
"""


HOLDER = """
import sys
from dataclasses import replace
from plugin_framework.engines.cluster.records import SharedUpload
from plugin_framework.errors import LeaseLostError
from tests.engines.cluster.conftest import opened
store = opened(sys.argv[1])
upload = SharedUpload("a.bin", "u", 1, 5, 0, "x" * 1000)
while True:
    lease = store.acquire("s", "one", seen=store.look("s"))
    print(lease.number if lease else 0, flush=True)
    try:
        while lease:
            store.begin_upload(lease, upload)
            store.renew([lease])
            upload = replace(upload, size=upload.size + 1)
    except LeaseLostError:
        pass
"""


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, server_of: Callable[[str], Store]) -> Server:
    """Which may be killed: what others have in it outlives that."""
    found = server_of(request.param)
    assert isinstance(found, RedisServer | PostgresServer)
    return found


def once_reachable(act: Callable[[], object]) -> None:
    """Again, until the server has found itself."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            act()
        except StoreUnreachableError:
            assert time.monotonic() < deadline
        else:
            return


def first(store: LeaseStore, subtask: str) -> Lease:
    lease = store.acquire(subtask, "one", seen=None)
    assert lease is not None
    return lease


def processes_of(server: Server) -> list[int]:
    """Its own, and those that it has begun."""
    found = [server.pid]
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, StopIteration):
            status = (process / "status").read_text(encoding="utf-8").splitlines()
            parent = next(line for line in status if line.startswith("PPid:"))
            found += [int(process.name)] if int(parent.split()[1]) == server.pid else []
    return found


@contextmanager
def hanging(server: Server) -> Iterator[None]:
    """It takes connections and what is sent, and answers nothing."""
    stopped = processes_of(server)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)


# It dies


def test_what_was_acknowledged_is_there_after_the_server_was_killed(server: Server) -> None:
    """Four threads write, and one takes new leases, while it is killed, twice."""
    store = opened(server.new())
    written: dict[str, int] = {}
    for life in range(2):
        enough = threading.Barrier(5)

        def write(subtask: str) -> None:
            lease, number = first(store, subtask), 0
            with suppress(StoreUnreachableError):
                while True:
                    store.save_state(lease, {"n": number})
                    written[subtask] = number
                    number += 1
                    if number == 30:
                        enough.wait()  # noqa: B023 - all end with this life

        with ThreadPoolExecutor() as pool:
            ends = [pool.submit(write, f"{life}-{one}") for one in range(4)]
            enough.wait()
            server.kill()
            for end in ends:
                end.result()
        with pytest.raises(StoreUnreachableError) as caught:
            store.look("s")
        assert "\n" not in str(caught.value)
        server.start()
        for subtask, number in written.items():
            lease = Lease(subtask, 1, "one")
            once_reachable(lambda: store.renew([lease]))  # noqa: B023 - used at once
            assert store.load(lease).state["n"] in {number, number + 1}
    store.close()


def test_an_ending_outlives_the_server(server: Server) -> None:
    store = opened(server.new())
    store.open("service", ["s", "t"])
    store.end(first(store, "s"), DONE)
    store.end(first(store, "t"), DONE)
    store.settle("t", "delivered")
    server.kill()
    server.start()
    once_reachable(lambda: store.look("s"))
    assert store.ending("s") == DONE
    assert [subtask for subtask, _ in store.ended("service")] == ["t"]
    assert list(store.held("service")) == ["s"]
    store.close()


def test_a_killed_process_leaves_a_whole_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(50)]
        process.kill()
        seen += process.stdout.readlines()
    whole = [int(line) for line in seen if line.endswith("\n")]
    journal = Journal(path)
    with ExitStack() as made:
        made.callback(journal.close)
        store = open_store(Settings(state_dir=tmp_path), journal)
        assert store.load(Lease("s", 1, "one")).state["n"] >= whole[-1]
        seen_now = store.look("s")
        assert store.acquire("s", "two", seen=seen_now) is not None


# It hangs


def test_nobody_waits_long_for_a_server_that_hangs(server: Server) -> None:
    """Renewals neither: who cannot renew must know before the lease can be taken."""
    url = server.new()
    store = opened(url)
    lease = first(store, "s")
    with hanging(server):
        began = time.monotonic()
        with ThreadPoolExecutor() as pool:
            renewals = [pool.submit(store.renew, [lease]) for _ in range(3)]
            another = pool.submit(opened, url)
            told = [*(one.exception() for one in renewals), another.exception()]
            assert all(isinstance(error, StoreUnreachableError) for error in told)
        assert time.monotonic() - began < DEADLINE / 4
    once_reachable(lambda: store.renew([lease]))
    assert store.renew([lease]) == {"s"}
    store.close()


def test_a_node_that_is_stopped_in_the_middle_of_a_write_holds_nothing_up(server: Server) -> None:
    url = server.new()
    store = opened(url)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(100):
            while not int(process.stdout.readline()):
                pass
            os.kill(process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            lease = take_over(store)
            store.begin_upload(lease, SharedUpload("a.bin", "v", 7, 5, 0, ""))
            assert store.load(lease).uploads[0].size == 7
            os.kill(process.pid, signal.SIGCONT)
        process.kill()
    store.close()


def take_over(store: LeaseStore) -> Lease:
    """Once what its holder had sent is done."""
    while (lease := store.acquire("s", "two", seen=store.look("s"))) is None:
        pass
    return lease


def test_a_connection_that_went_stale_is_not_used(server: Server) -> None:
    """A server that was restarted meanwhile is asked anew, and nobody hears of it."""
    store = opened(server.new())
    lease = first(store, "s")
    server.kill()
    server.start()
    deadline = time.monotonic() + DEADLINE
    while not server.answers():
        assert time.monotonic() < deadline
    assert store.renew([lease]) == {"s"}
    store.close()


# It cannot be had


@pytest.mark.parametrize("scheme", ["postgresql", "redis", "rediss"])
def test_what_is_said_of_a_server_that_is_away_holds_no_secret(scheme: str) -> None:
    with pytest.raises(StoreUnreachableError, match="cannot be reached") as caught:
        opened(f"{scheme}://user:{SECRET}@127.0.0.1:{free_port()}/0")
    assert SECRET not in repr(caught.value)
    assert caught.value.code == Code.STORE_UNREACHABLE
    assert "Is the server running" not in str(caught.value)  # hints make it long
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@127.0.0.1:port/db",
        f"postgresql://user:{SECRET}/{SECRET}@127.0.0.1/db",
        f"postgresql://user:{SECRET}@{SECRET}@127.0.0.1/db",
        f"postgresql://user:{SECRET}%@127.0.0.1/db",
        f"postgresql://127.0.0.1/db?pass={SECRET}",
        f"redis://user:{SECRET}@127.0.0.1:port/0",
        f"redis://user:{SECRET}@127.0.0.1/0?db={SECRET}",
    ],
)
def test_an_address_that_its_client_does_not_take_is_refused_without_saying_it(url: str) -> None:
    with pytest.raises(ClusterConfigurationError, match="DATAHUB_STORE_URL is not as") as caught:
        opened(url)
    assert SECRET not in repr(caught.value)
    assert caught.value.code == Code.STORE_UNSUITABLE


# It forgets, or is somebody else's


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[str]:
    with ExitStack() as made:
        yield running("redis", tmp_path, made).new()


@pytest.mark.parametrize(
    ("configured", "said"),
    [
        ({"appendonly": "no"}, "appendonly is no"),
        ({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}, "must be noeviction"),
    ],
)
def test_a_redis_that_forgets_is_refused(
    redis_server: str, configured: dict[str, str], said: str
) -> None:
    with redis.Redis.from_url(redis_server) as admin:
        for name, value in configured.items():
            admin.config_set(name, value)
        with pytest.raises(ClusterConfigurationError, match=said) as caught:
            RedisStore(redis_server)
    assert caught.value.code == Code.STORE_UNSUITABLE


def test_a_redis_that_may_forget_a_second_is_doubted(redis_server: str) -> None:
    store = RedisStore(redis_server)
    with redis.Redis.from_url(redis_server) as admin:
        admin.config_set("appendfsync", "everysec")
        assert store.doubts() == ["appendfsync is everysec: a crash may forget a second, or more"]
        admin.execute_command("ACL", "SETUSER", "default", "-config")
    assert store.doubts() == ["how it writes cannot be read (CONFIG GET is refused)"]
    store.close()
    RedisStore(redis_server).close()


def test_a_redis_that_is_full_says_so_and_keeps_what_it_has(redis_server: str) -> None:
    store = RedisStore(redis_server)
    lease = first(store, "s")
    with redis.Redis.from_url(redis_server) as admin:
        admin.config_set("maxmemory", "1")
        with pytest.raises(StoreUnreachableError, match="maxmemory"):
            store.save_state(lease, {"line": 7})
        admin.config_set("maxmemory", "0")
    assert store.renew([lease]) == {"s"}
    store.close()


def test_a_store_of_another_release_is_refused(server: Server) -> None:
    url = server.new()
    opened(url).close()
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as admin:
            admin.set("datahub:format", "2")
    else:
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE datahub.version SET version = 2")
    with pytest.raises(ClusterConfigurationError, match="is of format 2") as caught:
        opened(url)
    assert caught.value.code == Code.STORE_UNSUITABLE


@pytest.fixture
def database(server_of: Callable[[str], Store]) -> str:
    return server_of("postgres").new()


def test_tables_of_others_are_left_alone(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE SCHEMA datahub; CREATE TABLE datahub.nodes (theirs TEXT)")
    with pytest.raises(ClusterConfigurationError, match='"nodes" already exists'):
        opened(database)
    with psycopg.connect(database) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'datahub'"
        ).fetchall()
    assert tables == [("nodes",)]


def test_a_user_without_the_right_to_make_tables_is_told(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
        as_guest = database.replace("postgres@", "guest@")
        with pytest.raises(ClusterConfigurationError, match="permission denied"):
            opened(as_guest)
        connection.execute("CREATE SCHEMA datahub AUTHORIZATION guest")
    store = opened(as_guest)
    assert store.open("service", ["s"]) == set()
    store.close()


def test_many_may_open_a_new_database_at_once(database: str) -> None:
    start = threading.Barrier(6)

    def open_it(_: int) -> None:
        start.wait()
        opened(database).close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(open_it, range(6)))


def test_a_database_that_does_not_write_to_disk_is_doubted(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        store = opened(database)
        deadline = time.monotonic() + DEADLINE
        while store.doubts() != ["fsync is off: a crash may damage all of it"]:
            assert time.monotonic() < deadline
        connection.execute("ALTER SYSTEM RESET fsync")
        connection.execute("SELECT pg_reload_conf()")
    store.close()


# How it is opened


def test_the_store_is_the_one_that_the_settings_name(server: Server, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    with ExitStack() as made:
        made.callback(journal.close)
        url = server.new()
        settings = Settings(state_dir=tmp_path, store_url=url)
        store = open_store(settings, journal)
        made.callback(store.close)
        store.learn("fact", 1)
        same = opened(url)
        made.callback(same.close)
        assert same.known("fact") == 1


@pytest.mark.parametrize("client", ["psycopg", "redis"])
def test_a_missing_client_is_told(
    client: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra, scheme = {"psycopg": ("postgres", "postgresql"), "redis": ("redis", "redis")}[client]
    monkeypatch.delitem(sys.modules, f"plugin_framework.engines.cluster.{extra}", raising=False)
    monkeypatch.setitem(sys.modules, client, None)
    journal = Journal(tmp_path / "journal.sqlite3")
    with ExitStack() as made:
        made.callback(journal.close)
        settings = Settings(state_dir=tmp_path, store_url=f"{scheme}://127.0.0.1/0")
        with pytest.raises(ClusterConfigurationError, match=rf"\[{extra}\]") as caught:
            open_store(settings, journal)
    assert caught.value.code == Code.EXTRA_MISSING


def test_the_journal_is_for_one_machine_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    with ExitStack() as made:
        made.callback(journal.close)
        settings = Settings(state_dir=tmp_path, broker_url="amqp://user:word@broker.example.com")
        with pytest.raises(ClusterConfigurationError, match=r"broker\.example\.com") as caught:
            open_store(settings, journal)
    assert caught.value.code == Code.STORE_UNSUITABLE


def test_a_journal_that_is_gone_is_a_store_that_cannot_be_reached(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    with ExitStack() as made:
        made.callback(journal.close)
        store = open_store(Settings(state_dir=tmp_path), journal)
        (tmp_path / "journal.sqlite3").unlink()
        with pytest.raises(StoreUnreachableError, match="removed"):
            store.look("s")


def test_a_name_that_is_not_known_is_no_secret() -> None:
    with pytest.raises(StoreUnreachableError) as caught:
        opened(f"postgresql://user:{SECRET}@{socket.gethostname()}.invalid/db")
    assert SECRET not in repr(caught.value)
