"""The tables of the emulator's state, and how an older state directory gets them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from plugin_framework.errors import Code, ConfigurationError

SCHEMA_VERSION: Final = 2
"""``PRAGMA user_version`` of a state of this layout; 1 had no number."""

# What grows large stands last in its row, so that lists and searches need not read past it.
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS subtasks (
    number INTEGER PRIMARY KEY,
    subtask_id TEXT NOT NULL UNIQUE,
    task_id TEXT,
    plugin TEXT,                     -- null for one that no service is to run
    service TEXT,                    -- its address
    status INTEGER NOT NULL DEFAULT 0,
    requested INTEGER,               -- what the operator wants, until the plugin confirms it
    dispatch TEXT NOT NULL DEFAULT 'none',  -- none, waiting, accepted, refused
    sent INTEGER NOT NULL DEFAULT 0, -- whether create_task may have arrived
    tell INTEGER,                    -- what manage_task has yet to say
    reason TEXT,                     -- why it failed, was refused or waits, for people
    progress INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    started_at REAL,
    ended_at REAL,
    heartbeat_at REAL,
    seen_at REAL,                    -- when the plugin last sent anything for it
    lost_at REAL,
    revision INTEGER UNIQUE,         -- of the row, by triggers; grows over the whole table
    input_key TEXT,
    input_name TEXT,
    input_size INTEGER,
    final_report TEXT,               -- digest of the acknowledged terminal report
    config TEXT NOT NULL,
    result TEXT
);
CREATE INDEX IF NOT EXISTS subtasks_of_task ON subtasks (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS subtasks_of_input ON subtasks (input_key) WHERE input_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS subtasks_by_status ON subtasks (status);
CREATE INDEX IF NOT EXISTS subtasks_waiting ON subtasks (plugin) WHERE dispatch = 'waiting';
CREATE INDEX IF NOT EXISTS subtasks_to_tell ON subtasks (plugin) WHERE tell IS NOT NULL;
CREATE INDEX IF NOT EXISTS subtasks_heard ON subtasks (seen_at)
    WHERE status IN (1, 2) AND lost_at IS NULL;
CREATE TRIGGER IF NOT EXISTS subtask_made AFTER INSERT ON subtasks BEGIN
    UPDATE subtasks SET revision = (SELECT COALESCE(MAX(revision), 0) + 1 FROM subtasks)
        WHERE number = NEW.number;
END;
CREATE TRIGGER IF NOT EXISTS subtask_changed AFTER UPDATE OF task_id, plugin, service, status,
    requested, dispatch, reason, progress, started_at, ended_at, heartbeat_at, lost_at, input_name,
    input_size, config, result ON subtasks
BEGIN
    UPDATE subtasks SET revision = (SELECT MAX(revision) + 1 FROM subtasks)
        WHERE number = NEW.number;
END;
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    subtask_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    code INTEGER NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_subtask ON events (subtask_id);
CREATE TABLE IF NOT EXISTS logs (
    number INTEGER PRIMARY KEY,
    subtask_id TEXT NOT NULL,
    at REAL NOT NULL,
    level TEXT NOT NULL,
    logger TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS logs_of_subtask ON logs (subtask_id);
CREATE TABLE IF NOT EXISTS services (url TEXT PRIMARY KEY, added_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS plugins (
    name TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    base TEXT NOT NULL,              -- where its calls and its config.js are
    version TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS inputs (
    key TEXT PRIMARY KEY,            -- of an object that no upload made
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    added_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS uploads (
    upload_id TEXT PRIMARY KEY,
    subtask_id TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    multipart INTEGER NOT NULL,
    chunk INTEGER,                   -- bytes of a part
    whole TEXT,                      -- the file that parts are written to, each in its place
    sealed INTEGER NOT NULL DEFAULT 0,      -- whether parts go to files of their own by now
    store_id TEXT,                   -- a real store's own id of it
    asked TEXT,                      -- the parts that a real store was asked to complete it with
    cleared INTEGER NOT NULL DEFAULT 0,     -- whether what came for it was removed again
    completed INTEGER UNIQUE,        -- counts completions, in their order
    manifest TEXT                    -- the parts it was completed with
);
CREATE INDEX IF NOT EXISTS uploads_of_subtask ON uploads (subtask_id);
CREATE INDEX IF NOT EXISTS uploads_by_key ON uploads (key);
CREATE INDEX IF NOT EXISTS uploads_live ON uploads (subtask_id)
    WHERE completed IS NULL AND NOT cleared;
CREATE TABLE IF NOT EXISTS claims (
    upload_id TEXT NOT NULL,         -- of a part that is being written to its place
    number INTEGER NOT NULL,
    PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
    upload_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    blob TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    key TEXT PRIMARY KEY,
    blob TEXT NOT NULL,
    size INTEGER,                    -- size and etag are null for a linked file: see objects.py
    etag TEXT
) WITHOUT ROWID;
"""

_BEFORE: Final = """
ALTER TABLE subtasks RENAME TO old_subtasks;
ALTER TABLE uploads RENAME TO old_uploads;
"""
_AFTER: Final = """
INSERT INTO uploads (upload_id, subtask_id, key, name, size, parts, multipart, completed, manifest)
SELECT upload_id, subtask_id, key, name, size, parts, multipart, completed, manifest
FROM old_uploads;
DROP TABLE old_uploads;
INSERT INTO subtasks (number, subtask_id, task_id, status, requested, progress, heartbeat_at,
    seen_at, config, result, final_report, input_key, input_name, created_at, started_at, ended_at)
SELECT number, subtask_id, task_id, status, requested, progress, heartbeat_at,
    COALESCE(heartbeat_at, created_at), config, result, final_report, input_key, input_name,
    created_at,
    (SELECT MIN(at) FROM events WHERE events.subtask_id = old_subtasks.subtask_id
        AND kind = 'status' AND code = 0),
    CASE WHEN status >= 3 THEN
        (SELECT MIN(at) FROM events WHERE events.subtask_id = old_subtasks.subtask_id
            AND code = 0 AND (kind = 'result' OR json_extract(detail, '$.status') >= 3
                AND kind = 'status'))
    END
FROM old_subtasks ORDER BY number;
DROP TABLE old_subtasks;
"""


def prepare(sql: sqlite3.Connection) -> None:
    """Give a database the tables of this version, in one transaction; an older one keeps its rows.

    Raises:
        ConfigurationError: a newer version made it.
    """
    _version(sql)
    sql.execute("PRAGMA journal_mode = WAL")
    sql.execute("PRAGMA synchronous = NORMAL")
    if _version(sql) == SCHEMA_VERSION:
        return
    sql.execute("BEGIN IMMEDIATE")
    try:
        if _version(sql) < SCHEMA_VERSION:  # else another process was quicker
            _migrate(sql)
    except BaseException:
        sql.execute("ROLLBACK")
        raise
    sql.execute("COMMIT")


def _version(sql: sqlite3.Connection) -> int:
    version = int(sql.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"the state directory was made by a newer version (layout {version}, known here:"
            f" {SCHEMA_VERSION}): use that version, or another directory",
            code=Code.JOURNAL_FOREIGN,
        )
    return version


def _migrate(sql: sqlite3.Connection) -> None:
    known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'subtasks'"
    is_older = sql.execute(known).fetchone() is not None
    for script in (_BEFORE, _TABLES, _AFTER) if is_older else (_TABLES,):
        for statement in _statements(script):
            sql.execute(statement)
    sql.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _statements(script: str) -> Iterator[str]:
    """One by one: ``executescript`` would commit the transaction it is in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
