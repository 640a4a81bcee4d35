"""One connection to the broker that is there when it is needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from kombu.transport.pyamqp import Connection

from plugin_framework.engines.celery.broker import FAILURES, Broker
from plugin_framework.errors import ClusterConfigurationError, ClusterError, DatahubError

PAUSE_SECONDS = 1.0
"""After a connection that could not be made, the next is not tried for so long."""

_Session = TypeVar("_Session")
_Answer = TypeVar("_Answer")


class Line(Generic[_Session]):
    """Makes a connection when it is used, and another after that one broke.

    ``begin`` makes of each what is worked with. Threads take turns.
    """

    def __init__(self, broker: Broker, name: str, begin: Callable[[Connection], _Session]) -> None:
        self._broker = broker
        self._name = name
        self._begin = begin
        self._turn = threading.Lock()
        self._connection: Connection | None = None
        self._session: _Session | None = None
        self._failure: ClusterError | ClusterConfigurationError | None = None
        self._failed_at = 0.0

    def use(self, work: Callable[[_Session], _Answer]) -> _Answer:
        """What ``work`` returns; twice done where a connection of before turns out to be dead.

        Raises:
            BrokerUnavailableError: the broker is not there, or does not answer.
            ClusterConfigurationError: it refuses.
        """
        with self._turn:
            while True:
                fresh = self._session is None
                try:
                    return work(self._open())
                except FAILURES as error:
                    self._drop()
                    if fresh or isinstance(error, TimeoutError):
                        raise self._broker.refusal(error) from None
                except DatahubError:
                    raise
                except BaseException:  # of the library's, now and then, where a connection is lost
                    self._drop()
                    raise

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._turn:
            if self._connection is not None:
                self._connection.sock.settimeout(PAUSE_SECONDS)
                with suppress(*FAILURES):
                    self._connection.close()
            self._drop()

    def _open(self) -> _Session:
        if self._session is None:
            self._connection = self._connect()
            self._session = self._begin(self._connection)
        return self._session

    def _connect(self) -> Connection:
        if self._failure is not None and time.monotonic() < self._failed_at + PAUSE_SECONDS:
            raise self._failure.with_traceback(None)
        try:
            connection = self._broker.connect(self._name)
        except (ClusterError, ClusterConfigurationError) as error:
            self._failure, self._failed_at = error, time.monotonic()
            raise
        self._failure = None
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.collect()
        self._connection = self._session = None
