"""What the stores that speak SQL say to their databases: SQLite's journal and PostgreSQL.

Parameters are written as ``:name``, and ``:now`` is the store's clock. Each statement looks itself
whether the lease still stands: a batch of them needs no answer in between, and goes in one piece.
"""

from __future__ import annotations

from functools import cache

_PARTS = {
    "{ours}": "subtask_id = :subtask_id AND number = :number AND node = :node AND held = 1",
    "{settled}": "subtask_id = :subtask_id AND fate <> 'pending'",
    "{sight}": "number, beats, node, held",
}


@cache
def whole(statement: str) -> str:
    """The statement with what stands in braces written out."""
    for name, part in _PARTS.items():
        statement = statement.replace(name, part)
    return statement


OPEN = """
INSERT INTO leases (subtask_id, service, changed) VALUES (:subtask_id, :service, :now)
ON CONFLICT (subtask_id) DO UPDATE SET service = excluded.service
RETURNING subtask_id, handed, noticed
"""
# All but the number goes.
BEGIN_ANEW = (
    """
DELETE FROM lease_uploads WHERE subtask_id = :subtask_id
    AND EXISTS (SELECT 1 FROM leases WHERE subtask_id = :subtask_id AND noticed = 1)
""",
    """
DELETE FROM lease_outputs WHERE subtask_id = :subtask_id
    AND EXISTS (SELECT 1 FROM leases WHERE subtask_id = :subtask_id AND noticed = 1)
""",
    """
UPDATE leases SET handed = 0, held = 0, begun = 0, losses = 0, state = '{}', ending = NULL,
    fate = NULL, noticed = 0
WHERE subtask_id = :subtask_id AND noticed = 1
""",
)
HANDED = "UPDATE leases SET handed = 1 WHERE subtask_id = :subtask_id"
LOOK = "SELECT {sight} FROM leases WHERE subtask_id = :subtask_id"

ACQUIRE_FIRST = """
INSERT INTO leases AS l (subtask_id, number, node, held, changed)
VALUES (:subtask_id, 1, :node, 1, :now)
ON CONFLICT (subtask_id) DO UPDATE SET number = 1, node = excluded.node, held = 1, changed = :now
WHERE l.number = 0 AND l.held = 0
RETURNING number, losses
"""
ACQUIRE = """
UPDATE leases SET number = number + 1, node = :node, held = 1, losses = losses + begun, begun = 0,
    changed = :now
WHERE subtask_id = :subtask_id AND number = :number AND beats = :beats AND held = :held
RETURNING number, losses
"""
TOUCH = "UPDATE leases SET changed = :now WHERE {ours} RETURNING subtask_id"
RENEW = "UPDATE leases SET beats = beats + 1, changed = :now WHERE {ours} RETURNING subtask_id"
RELEASE = """
UPDATE leases SET held = 0, losses = CASE WHEN begun = 1 THEN 0 ELSE losses END, begun = 0,
    changed = :now
WHERE {ours}
"""
SET_BEGUN = """
UPDATE leases SET begun = :begun, changed = :now WHERE {ours} RETURNING subtask_id
"""

ENDING = """
SELECT ending, fate FROM leases WHERE subtask_id = :subtask_id AND ending IS NOT NULL
"""
END = """
UPDATE leases SET ending = coalesce(ending, :ending), fate = coalesce(fate, :fate), changed = :now
WHERE {ours} RETURNING ending, fate
"""
END_UNHELD = """
INSERT INTO leases AS l (subtask_id, ending, fate, changed)
VALUES (:subtask_id, :ending, :fate, :now)
ON CONFLICT (subtask_id) DO UPDATE SET ending = coalesce(l.ending, excluded.ending),
    fate = coalesce(l.fate, excluded.fate), changed = :now
WHERE l.held = 0
RETURNING ending, fate
"""
SETTLE = """
UPDATE leases SET fate = CASE WHEN fate = 'delivered' THEN fate ELSE :fate END, changed = :now
WHERE subtask_id = :subtask_id AND ending IS NOT NULL
"""
FORGET_UPLOADS_OF_SETTLED = """
DELETE FROM lease_uploads WHERE subtask_id = :subtask_id
    AND EXISTS (SELECT 1 FROM leases WHERE {settled})
"""

LOAD = (
    "SELECT state FROM leases WHERE {ours}",
    """
SELECT name, upload_id, size, chunk, part_size, sealed_urls, completed FROM lease_uploads
WHERE subtask_id = :subtask_id ORDER BY name
""",
    "SELECT name, part, etag, digest FROM lease_parts WHERE subtask_id = :subtask_id ORDER BY part",
    "SELECT name, size, sha256 FROM lease_outputs WHERE subtask_id = :subtask_id ORDER BY name",
)
SAVE_STATE = """
UPDATE leases SET state = :state, changed = :now WHERE {ours} RETURNING subtask_id
"""
# Of the lease itself: TOUCH goes before these, and has the row to itself from then on.
FORGET_UPLOAD = """
DELETE FROM lease_uploads WHERE subtask_id = :subtask_id AND name = :name
    AND upload_id <> :upload_id AND EXISTS (SELECT 1 FROM leases WHERE {ours})
"""
BEGIN_UPLOAD = """
INSERT INTO lease_uploads
    (subtask_id, name, upload_id, size, chunk, part_size, sealed_urls, completed)
SELECT subtask_id, :name, :upload_id, :size, :chunk, :part_size, :sealed_urls, 0
FROM leases WHERE {ours}
ON CONFLICT (subtask_id, name) DO UPDATE SET size = excluded.size, chunk = excluded.chunk,
    part_size = excluded.part_size, sealed_urls = excluded.sealed_urls, completed = 0
"""
KEEP_PART = """
INSERT INTO lease_parts (subtask_id, name, part, etag, digest)
SELECT subtask_id, name, :part, :etag, :digest FROM lease_uploads
WHERE subtask_id = :subtask_id AND name = :name AND upload_id = :upload_id
    AND EXISTS (SELECT 1 FROM leases WHERE {ours})
ON CONFLICT (subtask_id, name, part) DO UPDATE SET etag = excluded.etag, digest = excluded.digest
"""
COMPLETE_UPLOAD = """
UPDATE lease_uploads SET completed = 1, sealed_urls = '' WHERE subtask_id = :subtask_id
    AND name = :name AND upload_id = :upload_id AND EXISTS (SELECT 1 FROM leases WHERE {ours})
"""
ADD_OUTPUT = """
INSERT INTO lease_outputs (subtask_id, name, size, sha256)
SELECT subtask_id, :name, :size, :sha256 FROM leases WHERE {ours}
ON CONFLICT (subtask_id, name) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256
"""

HELD = """
SELECT subtask_id, {sight} FROM leases WHERE service = :service AND number > 0
    AND coalesce(fate, 'pending') = 'pending'
"""
ENDED = """
SELECT subtask_id, ending, fate FROM leases
WHERE service = :service AND fate <> 'pending' AND noticed = 0 ORDER BY changed LIMIT :most
"""
NOTICED = "UPDATE leases SET noticed = 1 WHERE {settled}"

BEAT = """
INSERT INTO nodes (name, record, seen) VALUES (:name, :record, :now)
ON CONFLICT (name) DO UPDATE SET record = excluded.record, seen = excluded.seen
RETURNING seen
"""
NODES = "SELECT record FROM nodes ORDER BY name"
LEAVE = "DELETE FROM nodes WHERE name = :name"
LEARN = """
INSERT INTO facts (fact, value) VALUES (:fact, :value)
ON CONFLICT (fact) DO UPDATE SET value = excluded.value
"""
LEARN_FIRST = """
INSERT INTO facts AS f (fact, value) VALUES (:fact, :value)
ON CONFLICT (fact) DO UPDATE SET value = f.value RETURNING value
"""
KNOWN = "SELECT value FROM facts WHERE fact = :fact"
PRUNE = """
DELETE FROM leases WHERE subtask_id IN (SELECT subtask_id FROM leases
    WHERE noticed = 1 AND changed < :before ORDER BY changed LIMIT :most)
RETURNING subtask_id
"""
# What strangers' messages were about: no service opened it, so none will notice it.
PRUNE_STRANGERS = """
DELETE FROM leases WHERE subtask_id IN (SELECT subtask_id FROM leases
    WHERE service = '' AND fate <> 'pending' AND noticed = 0 AND changed < :before
    ORDER BY changed LIMIT :most)
RETURNING subtask_id
"""
PRUNE_NODES = "DELETE FROM nodes WHERE seen < :before"
