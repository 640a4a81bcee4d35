"""The store in PostgreSQL, for many machines.

Each call is one message and one transaction: a node that is stopped in the middle of one
holds no lock, and what it sends when it wakes finds that its lease is gone.
"""

from __future__ import annotations

import re
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from queue import Empty, LifoQueue
from typing import Any

import psycopg
import psycopg.conninfo
from psycopg.abc import RV, PQGen

from plugin_framework.engines.cluster.sql_store import Parameters, Rows, SqlStore
from plugin_framework.engines.cluster.statements import whole
from plugin_framework.errors import ClusterConfigurationError, Code, StoreUnreachableError

SCHEMA_VERSION = 1
_CONNECT_SECONDS = 2
_ANSWER_SECONDS = 2.5
"""How long to wait for an answer; the server itself gives up a little earlier."""
_SESSION = """
SET search_path = datahub;
SET statement_timeout = '2s';
SET idle_in_transaction_session_timeout = '2s';
SET synchronous_commit = on
"""
# Refusals of a connection, for which psycopg has no SQLSTATE. In another language than English they
# are told as they are by the server, and count as passing.
_REFUSED = re.compile(
    r"FATAL: +(?:.*authentication failed for user|no pg_hba\.conf entry|role .* does not exist"
    r"|role .* is not permitted to log in|database .* does not exist"
    r"|permission denied for database).*|fe_sendauth: no password supplied"
)
_LOCK = 0x4448504C  # of advisory locks, which have numbers: "DHPL"
_SCHEMA = """
CREATE TABLE datahub.version (version INTEGER NOT NULL);
INSERT INTO datahub.version VALUES (1);
CREATE TABLE datahub.leases (
    subtask_id TEXT PRIMARY KEY,
    service TEXT NOT NULL DEFAULT '',
    handed INTEGER NOT NULL DEFAULT 0,
    number BIGINT NOT NULL DEFAULT 0,
    beats BIGINT NOT NULL DEFAULT 0,
    node TEXT NOT NULL DEFAULT '',
    held INTEGER NOT NULL DEFAULT 0,
    begun INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT '{}',
    ending TEXT,
    fate TEXT CHECK (fate IN ('pending', 'delivered', 'refused')),
    noticed INTEGER NOT NULL DEFAULT 0,
    changed DOUBLE PRECISION NOT NULL
);
CREATE INDEX leases_taken ON datahub.leases (service)
    WHERE number > 0 AND coalesce(fate, 'pending') = 'pending';
CREATE INDEX leases_to_notice ON datahub.leases (service, changed)
    WHERE fate <> 'pending' AND noticed = 0;
CREATE INDEX leases_over ON datahub.leases (changed) WHERE noticed = 1;
CREATE TABLE datahub.lease_uploads (
    subtask_id TEXT NOT NULL REFERENCES datahub.leases ON DELETE CASCADE,
    name TEXT NOT NULL,
    upload_id TEXT NOT NULL,
    size BIGINT NOT NULL,
    chunk BIGINT NOT NULL,
    part_size BIGINT NOT NULL,
    sealed_urls TEXT NOT NULL,
    completed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (subtask_id, name)
);
CREATE TABLE datahub.lease_parts (
    subtask_id TEXT NOT NULL,
    name TEXT NOT NULL,
    part INTEGER NOT NULL,
    etag TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (subtask_id, name, part),
    FOREIGN KEY (subtask_id, name) REFERENCES datahub.lease_uploads ON DELETE CASCADE
);
CREATE TABLE datahub.lease_outputs (
    subtask_id TEXT NOT NULL REFERENCES datahub.leases ON DELETE CASCADE,
    name TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT,
    PRIMARY KEY (subtask_id, name)
);
CREATE TABLE datahub.nodes (
    name TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    seen DOUBLE PRECISION NOT NULL
);
CREATE TABLE datahub.facts (fact TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class PostgresStore(SqlStore):
    """The leases in a database's schema ``datahub``, made where it is missing; a ``LeaseStore``.

    Raises:
        ClusterConfigurationError: the address, or what is in the schema, cannot be used, or the
            server refuses the user, the password or the database.
        StoreUnreachableError: the server cannot be reached.
    """

    guarantee = (
        "PostgreSQL: what is written outlives its crash; a failover to a replica that is not"
        " synchronous may forget the last moments"
    )

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: LifoQueue[_Connection] = LifoQueue()
        _refuse_half_read(url)
        try:
            with self._connection() as connection:
                _prepare(connection)
        except psycopg.ProgrammingError as error:
            raise ClusterConfigurationError(
                f"the store in PostgreSQL cannot be used ({_advice(error)})",
                code=Code.STORE_UNSUITABLE,
            ) from None
        except psycopg.Error as error:
            raise _refusal(error) or _unreachable(error) from None

    def doubts(self) -> list[str]:
        """See ``LeaseStore.doubts``."""
        (found,) = self._run(
            "SELECT current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',"
            " current_setting('synchronous_standby_names') <> '' OR NOT EXISTS"
            " (SELECT 1 FROM pg_stat_replication)"
        )
        lines = (
            "fsync is off: a crash may damage all of it",
            "full_page_writes is off: a crash may damage all of it",
            "its replicas are asynchronous: a failover may forget the last moments",
        )
        return [line for line, well in zip(lines, found, strict=True) if not well]

    def close(self) -> None:
        """Close all connections that are not in use."""
        while (connection := self._next_idle()) is not None:
            connection.close()

    def _ask(self, batch: Sequence[tuple[str, Parameters]], *, durable: bool) -> list[Rows]:
        del durable  # it is all the same here: the server writes for many at once
        try:
            with self._connection() as connection, psycopg.ClientCursor(connection) as cursor:
                # One message, and therefore one transaction: the server begins when it has all.
                written = [cursor.mogrify(_translated(each), values) for each, values in batch]
                cursor.execute(";\n".join(written).encode())
                return [_rows(found) for found in cursor.results()]
        except psycopg.Error as error:
            raise _unreachable(error) from None

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        """A connection of this thread's own: no call waits for another's answer."""
        connection = self._next_sound() or self._connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)

    def _connect(self) -> _Connection:
        # One of several servers that a URL names may be a replica.
        connection = _Connection.connect(
            self._url,
            autocommit=True,
            client_encoding="UTF8",
            connect_timeout=_CONNECT_SECONDS,
            target_session_attrs="read-write",
        )
        try:
            connection.execute(_SESSION)
        except BaseException:
            connection.close()
            raise
        return connection

    def _next_sound(self) -> _Connection | None:
        while (connection := self._next_idle()) is not None:
            if not _has_something_to_say(connection):
                return connection
            connection.close()
        return None

    def _next_idle(self) -> _Connection | None:
        try:
            return self._idle.get_nowait()
        except Empty:
            return None


class _Connection(psycopg.Connection[tuple[Any, ...]]):
    """One that does not wait for ever for a server that hangs, or is out of reach."""

    def wait(
        self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = _ANSWER_SECONDS
    ) -> RV:
        return super().wait(gen, interval, timeout)


def _has_something_to_say(connection: _Connection) -> bool:
    """Nothing was asked of it: it can only be that the server is gone, or going."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _refuse_half_read(url: str) -> None:
    """Refuse an address of which some may be taken for what it is not, and told to people."""
    try:
        parts = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        parts = {"port": "unknown"}
    ports = str(parts.get("port") or "0").split(",")
    if "@" in str(parts.get("host")) or not all(map(str.isdigit, ports)):
        raise ClusterConfigurationError(
            "DATAHUB_STORE_URL is not as PostgreSQL has them: percent-encode what is special in"
            " its user and password",
            code=Code.STORE_UNSUITABLE,
        )


def _prepare(connection: _Connection) -> None:
    """Make the schema where it is missing; several may be about to."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        if _first(connection, "SELECT to_regclass('datahub.version') IS NULL"):
            if _first(connection, "SELECT to_regnamespace('datahub') IS NULL"):
                connection.execute("CREATE SCHEMA datahub")
            connection.execute(_SCHEMA)
        found = _first(connection, "SELECT max(version) FROM datahub.version")
    if found != SCHEMA_VERSION:
        raise ClusterConfigurationError(
            f"the store in PostgreSQL is of format {found}, and this framework's is"
            f" {SCHEMA_VERSION}: have all nodes and the service run the same release",
            code=Code.STORE_UNSUITABLE,
        )


def _first(connection: _Connection, statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    return row[0] if row else None


def _rows(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Rows:
    return cursor.fetchall() if cursor.description else []


@cache
def _translated(statement: str) -> bytes:
    """The statement with PostgreSQL's clock, and parameters as psycopg has them."""
    clock = "extract(epoch FROM clock_timestamp())::double precision"
    written = whole(statement).replace(":now", clock)
    return re.sub(r"(?<!:):([a-z_0-9]+)", r"%(\1)s", written).encode()


def _refusal(error: psycopg.Error) -> ClusterConfigurationError | None:
    # Of several addresses of a host one may be nobody's: what one that answers says counts.
    if not (said := _REFUSED.search(str(error))):
        return None
    return ClusterConfigurationError(
        f"the store in PostgreSQL refuses the user, the password or the database ({said[0]})",
        code=Code.STORE_REFUSED,
    )


def _unreachable(error: psycopg.Error) -> StoreUnreachableError:
    return StoreUnreachableError(
        f"the store in PostgreSQL cannot be reached, or does not answer ({_advice(error)})"
    )


def _advice(error: psycopg.Error) -> str:
    """The first line, without the hints that follow."""
    first = str(error).strip().partition("\n")[0]
    return " ".join(first.split()) or type(error).__name__
