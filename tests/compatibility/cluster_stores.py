"""What the first format of the stores of a cluster looks like, in PostgreSQL and in Redis.

``python -m tests.compatibility.cluster_stores`` writes it, once, by the store of this release.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql

from plugin_framework.engines.cluster.postgres import _SCHEMA, PostgresStore
from plugin_framework.engines.cluster.records import Ending, NodeRecord, SharedUpload
from plugin_framework.engines.cluster.redis import RedisStore
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.journal.uploads import KeptPart, Output
from tests.cluster import stores

FORMATS = Path(__file__).parent / "formats"
RECORDS: dict[str, Any] = json.loads((FORMATS / "cluster.json").read_text(encoding="utf-8"))
KINDS = ("redis", "postgres")
SERVICE, NODE = "service-1", "machine-1-4711"
STATE = {"line": 7, "of": "fr\u00fcher"}
CHUNK = 5 * 1024 * 1024
BIG = SharedUpload("big.bin", "u-1", 3 * CHUNK, CHUNK, 0, "sealed")
PART = KeptPart('"0cc175b9c0f1b6a831c399e269772661"', "1a")
OUTPUT = Output("out.csv", 12, "ab" * 32)


def dump_of(kind: str) -> Path:
    """Where the store of a kind is."""
    return FORMATS / f"store-{kind}-1.json"


def opened(kind: str, url: str) -> LeaseStore:
    """The store at an address."""
    return RedisStore(url) if kind == "redis" else PostgresStore(url)


def fill(store: LeaseStore) -> None:
    """Leave one subtask that waits, one that is held, and one that has ended."""
    store.open(SERVICE, ["waits", "held", "ended"])
    held = store.acquire("held", NODE, seen=store.look("held"))
    ended = store.acquire("ended", NODE, seen=store.look("ended"))
    assert held is not None
    assert ended is not None
    store.set_begun(held, begun=True)
    store.save_state(held, STATE)
    store.begin_upload(held, BIG)
    store.keep_part(held, BIG.name, BIG.upload_id, 2, PART)
    store.begin_upload(held, SharedUpload("out.csv", "u-2", 12, 0, 0, ""))
    store.complete_upload(held, OUTPUT, "u-2")
    store.renew([held])
    store.end(ended, Ending.of(RECORDS["ending"], "pending"))
    store.beat(NodeRecord.of(RECORDS["node"]))
    store.learn("store", "identity-1")


def dumped(kind: str, url: str) -> Any:
    """All that is in a store."""
    return _dumped_redis(url) if kind == "redis" else _dumped_postgres(url)


def restore(kind: str, url: str) -> None:
    """Fill an empty server's database as a release of that format left it."""
    kept = json.loads(dump_of(kind).read_text(encoding="utf-8"))
    if kind == "redis":
        _restore_redis(url, kept)
    else:
        _restore_postgres(url, kept)


def _dumped_redis(url: str) -> dict[str, Any]:
    read = {"hash": "HGETALL", "string": "GET", "set": "SMEMBERS"}
    found: dict[str, Any] = {}
    with redis.Redis.from_url(url, decode_responses=True) as server:
        for key in sorted(server.scan_iter()):
            kind = server.type(key)
            given = (
                server.zrange(key, 0, -1, withscores=True)
                if kind == "zset"
                else server.execute_command(read[kind], key)
            )
            found[key] = [kind, sorted(given) if kind == "set" else given]
    return found


def _restore_redis(url: str, kept: dict[str, Any]) -> None:
    with redis.Redis.from_url(url, decode_responses=True) as server:
        for key, (kind, given) in kept.items():
            if kind == "hash":
                server.hset(key, mapping=given)
            elif kind == "zset":
                server.zadd(key, dict(given))
            elif kind == "set":
                server.sadd(key, *given)
            else:
                server.set(key, given)


def _dumped_postgres(url: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'datahub'"
        ).fetchall()
        for (table,) in sorted(tables):
            name = sql.Identifier("datahub", table)
            rows = connection.execute(sql.SQL("SELECT * FROM {}").format(name)).fetchall()
            found[table] = [list(row) for row in rows]
    return {"schema": ["CREATE SCHEMA datahub;", *_SCHEMA.splitlines()], "rows": found}


def _restore_postgres(url: str, kept: dict[str, Any]) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("\n".join(kept["schema"]).encode())
        connection.execute("TRUNCATE datahub.version")
        # Parents before children: the rows of one table are about those of another.
        for table in sorted(kept["rows"], key=lambda name: (name != "leases", "_parts" in name)):
            for row in kept["rows"][table]:
                places = sql.SQL(", ").join([sql.Placeholder()] * len(row))
                name = sql.Identifier("datahub", table)
                connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(name, places), row)


def write(kind: str) -> None:
    """Write the store of a kind, unless it is there."""
    if dump_of(kind).exists():
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        contextmanager(stores.start)(kind, Path(folder)) as server,
    ):
        url = server.new()
        with closing(opened(kind, url)) as store:
            fill(store)
        text = json.dumps(dumped(kind, url), ensure_ascii=False, indent=1)
    dump_of(kind).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    for each in KINDS:
        write(each)
