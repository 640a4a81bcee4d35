"""A few threads make all transfers; each of these ends, however the others go."""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from plugin_framework.errors import StorageUnreachableError
from plugin_framework.transfer import engine as engine_module
from plugin_framework.transfer.engine import AbortedError, Engine, EngineOptions
from plugin_framework.transfer.exchange import BinaryWindow
from plugin_framework.transfer.reactor import MOST_THREADS, Reactors
from tests.transfer.storage_server import Dialogue, StorageServer, Stored, Zeros, stalls
from tests.transfer.test_engine import Collector, never

AT_ONCE = 12
OPTIONS = EngineOptions(allow_private=True, connect_timeout=60)


@pytest.fixture
def storage() -> Iterator[StorageServer]:
    with StorageServer() as server:
        server.objects["/object"] = Stored(Zeros(100_000))
        yield server


@pytest.fixture
def engine() -> Iterator[Engine]:
    with closing(Engine(OPTIONS)) as engine:
        yield engine


def of_transfers() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "transfers"}


def test_many_at_once_share_few_threads_which_end_with_the_engine(storage: StorageServer) -> None:
    before = of_transfers()
    meeting = threading.Barrier(AT_ONCE)

    def together(dialogue: Dialogue) -> None:
        meeting.wait(20)
        dialogue.serve()

    storage.script("GET", "", *[together] * AT_ONCE)
    engine = Engine(OPTIONS)
    sinks = [Collector() for _ in range(AT_ONCE)]

    def fetch(sink: Collector) -> None:
        engine.get(f"{storage.url}/object", sink=sink, abort=never)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(fetch, sinks))
    assert [sink.data for sink in sinks] == [bytes(100_000)] * AT_ONCE
    threads = of_transfers() - before
    assert 0 < len(threads) <= MOST_THREADS
    engine.close()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_an_engine_that_was_closed_lets_what_is_under_way_end_and_can_be_used_again(
    storage: StorageServer, engine: Engine
) -> None:
    reached, go = threading.Event(), threading.Event()

    def held(dialogue: Dialogue) -> None:
        reached.set()
        go.wait(20)
        dialogue.serve()

    storage.script("GET", "/object", held)
    first, second = Collector(), Collector()

    def fetch(sink: Collector) -> None:
        engine.get(f"{storage.url}/object", sink=sink, abort=never)

    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(fetch, first)
        assert reached.wait(20)
        engine.close()
        fetch(second)
        go.set()
        under_way.result(20)
    assert first.data == second.data == bytes(100_000)
    assert len({request.peer for request in storage.requests}) == 2


def test_one_that_does_not_connect_can_be_stopped(engine: Engine) -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as pool:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/object"
        transfer = pool.submit(engine.get, url, sink=Collector(), abort=stop.is_set)
        taken, _ = silent.accept()
        with taken:
            assert taken.recv(1)  # it waits for the answer to its TLS hello
            stop.set()
            with pytest.raises(AbortedError):
                transfer.result(20)


def test_what_the_waiting_thread_raises_ends_its_transfer_and_no_other(
    storage: StorageServer, engine: Engine
) -> None:
    storage.script("GET", "/stalled", stalls)
    storage.objects["/stalled"] = storage.objects["/object"]

    def interrupted() -> bool:
        if threading.current_thread() is waiting:
            raise KeyboardInterrupt
        return False

    def fetch() -> None:
        with pytest.raises(KeyboardInterrupt):
            engine.get(f"{storage.url}/stalled", sink=Collector(), abort=interrupted)

    waiting = threading.Thread(target=fetch)
    waiting.start()
    assert storage.stalled.wait(20)
    sink = Collector()
    engine.get(f"{storage.url}/object", sink=sink, abort=never)
    waiting.join(20)
    assert not waiting.is_alive()
    assert sink.data == bytes(100_000)


def test_those_that_stall_side_by_side_fail_by_their_own_limit_and_hold_up_no_other(
    storage: StorageServer,
) -> None:
    storage.objects["/stalled"] = storage.objects["/object"]
    storage.script("GET", "/stalled", *[stalls] * AT_ONCE)
    sink = Collector()

    def fail(engine: Engine) -> None:
        with pytest.raises(StorageUnreachableError, match="too slow"):
            engine.get(f"{storage.url}/stalled", sink=Collector(), abort=never)

    options = replace(OPTIONS, low_speed_seconds=2)
    with closing(Engine(options)) as engine, ThreadPoolExecutor(AT_ONCE) as pool:
        failing = [pool.submit(fail, engine) for _ in range(AT_ONCE)]
        assert storage.stalled.wait(20)
        engine.get(f"{storage.url}/object", sink=sink, abort=never)
        assert not any(each.done() for each in failing)
        for each in failing:
            each.result(30)  # the 60 s of a connection are not what ends it
    assert sink.data == bytes(100_000)


def test_a_limited_rate_holds_up_neither_an_end_nor_what_is_small(storage: StorageServer) -> None:
    storage.objects["/large"] = Stored(Zeros(100_000_000))
    storage.objects["/small"] = Stored(Zeros(100))
    stop = threading.Event()

    def fetch_large(engine: Engine) -> None:
        with pytest.raises(AbortedError):
            engine.get(f"{storage.url}/large", sink=Collector(), abort=stop.is_set)

    options = replace(OPTIONS, bandwidth=256 * 1024)
    with closing(Engine(options)) as engine, ThreadPoolExecutor(AT_ONCE) as pool:
        large = [pool.submit(fetch_large, engine) for _ in range(AT_ONCE - 1)]
        small = Collector()
        pool.submit(engine.get, f"{storage.url}/small", sink=small, abort=never).result(30)
        stop.set()
        for each in large:
            each.result(30)
    assert small.data == bytes(100)


def test_what_is_told_of_a_transfer_may_fail_it(storage: StorageServer, engine: Engine) -> None:
    def moved(_count: int) -> None:
        raise ValueError("not so many")

    with tempfile.TemporaryFile() as file:
        os.truncate(file.fileno(), 100_000)
        window = BinaryWindow(file.fileno(), 0, 100_000)
        with pytest.raises(ValueError, match="not so many"):
            engine.put(f"{storage.url}/object", window, never, moved=moved)


def test_an_engine_that_nobody_closed_leaves_no_threads(storage: StorageServer) -> None:
    before = of_transfers()
    engine = Engine(OPTIONS)
    engine.get(f"{storage.url}/object", sink=Collector(), abort=never)
    threads = of_transfers() - before
    del engine
    gc.collect()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_process_goes_on_with_threads_of_its_own(
    storage: StorageServer, engine: Engine
) -> None:
    engine.get(f"{storage.url}/object", sink=Collector(), abort=never)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        sink = Collector()
        engine.get(f"{storage.url}/object", sink=sink, abort=never)
        os.write(writing, str(len(sink.data)).encode())
        os._exit(0)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], 30)
        assert ready
        assert os.read(reading, 100) == b"100000"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)


def test_a_kept_connection_serves_on_when_the_name_means_other_addresses(
    storage: StorageServer, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the names of large stores do: each answer of the DNS has a few of their addresses."""
    port = int(storage.url.rpartition(":")[2])
    answers = iter(["127.0.0.1", "127.0.0.2", "127.0.0.2"])

    def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(engine_module, "RESOLVED_SECONDS", 0.0)
    for _ in range(2):
        sink = Collector()
        engine.get(f"http://storage.test:{port}/object", sink=sink, abort=never)
        assert sink.data == bytes(100_000)
    assert len({request.peer for request in storage.requests}) == 1


def test_a_failure_of_the_thread_itself_reaches_those_who_wait() -> None:
    with closing(Reactors()) as reactors:
        for _ in range(2):
            with pytest.raises(TypeError):
                reactors.perform(object(), never)
