"""The journal's format, step by step."""

from __future__ import annotations

# Each entry takes the file from the version that is its index to the next one. Never edit one that
# was released: add another.
MIGRATIONS = (
    """
CREATE TABLE subtasks (
    subtask_id TEXT PRIMARY KEY,
    task_id TEXT,
    plugin TEXT NOT NULL,
    config TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT '{}',
    created REAL NOT NULL
) STRICT;
CREATE TABLE attempts (
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    started REAL NOT NULL,
    PRIMARY KEY (subtask_id, attempt)
) STRICT;
CREATE TABLE reports (
    report_id INTEGER PRIMARY KEY AUTOINCREMENT,
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    status INTEGER NOT NULL,
    path TEXT NOT NULL,
    body BLOB NOT NULL,
    outcome TEXT,
    created REAL NOT NULL,
    fate TEXT NOT NULL DEFAULT 'pending' CHECK (fate IN ('pending', 'delivered', 'refused')),
    settled REAL
) STRICT;
CREATE UNIQUE INDEX one_ending ON reports (subtask_id) WHERE outcome IS NOT NULL;
CREATE INDEX reports_in_order ON reports (subtask_id, report_id);
""",
    """
CREATE TABLE events (
    event_id INTEGER PRIMARY KEY AUTOINCREMENT,
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX events_in_order ON events (subtask_id, event_id);
CREATE TABLE uploads (
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    name TEXT NOT NULL,
    upload_id TEXT NOT NULL,
    size INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    urls TEXT NOT NULL,
    completed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (subtask_id, name)
) STRICT;
CREATE TABLE upload_parts (
    subtask_id TEXT NOT NULL,
    name TEXT NOT NULL,
    part INTEGER NOT NULL,
    etag TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (subtask_id, name, part),
    FOREIGN KEY (subtask_id, name) REFERENCES uploads ON DELETE CASCADE
) STRICT;
""",
    # "DHPJ": tells a journal from another application's database.
    "PRAGMA application_id = 0x4448504A",
    """
CREATE TABLE outputs (
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT,
    PRIMARY KEY (subtask_id, name)
) STRICT;
ALTER TABLE uploads ADD COLUMN part_size INTEGER NOT NULL DEFAULT 0;
""",
    """
CREATE TABLE queue (
    place INTEGER PRIMARY KEY,
    subtask_id TEXT NOT NULL UNIQUE,
    task_id TEXT,
    plugin TEXT NOT NULL,
    config TEXT NOT NULL,
    wanted INTEGER NOT NULL DEFAULT 1,
    accepted REAL NOT NULL
) STRICT;
CREATE TABLE calls (
    call_id INTEGER PRIMARY KEY,
    at REAL NOT NULL
) STRICT;
CREATE INDEX calls_in_order ON calls (at);
CREATE INDEX undelivered ON reports (subtask_id) WHERE fate = 'pending';
""",
    # What a cluster shares, where all of it is on one machine: the tables that LeaseStore is about.
    """
CREATE TABLE leases (
    subtask_id TEXT PRIMARY KEY,
    service TEXT NOT NULL DEFAULT '',
    handed INTEGER NOT NULL DEFAULT 0,
    number INTEGER NOT NULL DEFAULT 0,
    beats INTEGER NOT NULL DEFAULT 0,
    node TEXT NOT NULL DEFAULT '',
    held INTEGER NOT NULL DEFAULT 0,
    begun INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT '{}',
    ending TEXT,
    fate TEXT CHECK (fate IN ('pending', 'delivered', 'refused')),
    noticed INTEGER NOT NULL DEFAULT 0,
    changed REAL NOT NULL
) STRICT;
CREATE INDEX leases_taken ON leases (service)
    WHERE number > 0 AND coalesce(fate, 'pending') = 'pending';
CREATE INDEX leases_to_notice ON leases (service, changed)
    WHERE fate <> 'pending' AND noticed = 0;
CREATE INDEX leases_over ON leases (changed) WHERE noticed = 1;
CREATE TABLE lease_uploads (
    subtask_id TEXT NOT NULL REFERENCES leases ON DELETE CASCADE,
    name TEXT NOT NULL,
    upload_id TEXT NOT NULL,
    size INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    part_size INTEGER NOT NULL,
    sealed_urls TEXT NOT NULL,
    completed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (subtask_id, name)
) STRICT;
CREATE TABLE lease_parts (
    subtask_id TEXT NOT NULL,
    name TEXT NOT NULL,
    part INTEGER NOT NULL,
    etag TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (subtask_id, name, part),
    FOREIGN KEY (subtask_id, name) REFERENCES lease_uploads ON DELETE CASCADE
) STRICT;
CREATE TABLE lease_outputs (
    subtask_id TEXT NOT NULL REFERENCES leases ON DELETE CASCADE,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT,
    PRIMARY KEY (subtask_id, name)
) STRICT;
CREATE TABLE nodes (
    name TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    seen REAL NOT NULL
) STRICT;
CREATE TABLE facts (
    fact TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
CREATE TABLE reasons (
    plugin TEXT PRIMARY KEY,
    why TEXT NOT NULL
) STRICT;
ALTER TABLE queue ADD COLUMN node TEXT;
ALTER TABLE queue ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
""",
)
