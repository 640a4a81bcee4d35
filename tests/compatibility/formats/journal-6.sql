PRAGMA application_id = 1145589834;
PRAGMA user_version = 6;
BEGIN TRANSACTION;
CREATE TABLE attempts (
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    started REAL NOT NULL,
    PRIMARY KEY (subtask_id, attempt)
) STRICT;
INSERT INTO "attempts" VALUES('behind',1,1760000000.0);
INSERT INTO "attempts" VALUES('broken',1,1760000000.0);
INSERT INTO "attempts" VALUES('over',1,1760000000.0);
INSERT INTO "attempts" VALUES('refused',1,1760000000.0);
INSERT INTO "attempts" VALUES('half',1,1760000000.0);
CREATE TABLE calls (
    call_id INTEGER PRIMARY KEY,
    at REAL NOT NULL
) STRICT;
INSERT INTO "calls" VALUES(-5000000000000000000,1760000000.0);
CREATE TABLE events (
    event_id INTEGER PRIMARY KEY AUTOINCREMENT,
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
INSERT INTO "events" VALUES(1,'half',1760000005.0,'stalled','{"seconds": 30}');
CREATE TABLE facts (
    fact TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
CREATE TABLE lease_outputs (
    subtask_id TEXT NOT NULL REFERENCES leases ON DELETE CASCADE,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT,
    PRIMARY KEY (subtask_id, name)
) STRICT;
INSERT INTO "lease_outputs" VALUES('far','out.csv',12,NULL);
CREATE TABLE lease_parts (
    subtask_id TEXT NOT NULL,
    name TEXT NOT NULL,
    part INTEGER NOT NULL,
    etag TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (subtask_id, name, part),
    FOREIGN KEY (subtask_id, name) REFERENCES lease_uploads ON DELETE CASCADE
) STRICT;
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
INSERT INTO "leases" VALUES('far','service',0,2,0,'node',0,1,0,'{"line": 7}',NULL,NULL,0,1760000000.0);
CREATE TABLE nodes (
    name TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    seen REAL NOT NULL
) STRICT;
CREATE TABLE outputs (
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT,
    PRIMARY KEY (subtask_id, name)
) STRICT;
INSERT INTO "outputs" VALUES('over','out.csv',12,'abababababababababababababababababababababababababababababababab');
CREATE TABLE queue (
    place INTEGER PRIMARY KEY,
    subtask_id TEXT NOT NULL UNIQUE,
    task_id TEXT,
    plugin TEXT NOT NULL,
    config TEXT NOT NULL,
    wanted INTEGER NOT NULL DEFAULT 1,
    accepted REAL NOT NULL
, node TEXT, attempt INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO "queue" VALUES(1,'waits-1','task','Resumes','{"times": 2}',1,1760000000.0,NULL,0);
INSERT INTO "queue" VALUES(2,'waits-2','task','Resumes','{"times": 2}',2,1760000000.0,'node',2);
CREATE TABLE reasons (
    plugin TEXT PRIMARY KEY,
    why TEXT NOT NULL
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
INSERT INTO "reports" VALUES(1,'behind',1,'/api/task/update_status',X'7B227375627461736B5F6964223A22626568696E64222C22737461747573223A317D',NULL,1760000008.0,'pending',NULL);
INSERT INTO "reports" VALUES(2,'behind',3,'/api/task/result',X'7B227375627461736B5F6964223A22626568696E64222C22726573756C74223A7B22746F74616C5F636F756E7473223A332C22737563636573735F636F756E7473223A322C226661696C65645F636F756E7473223A312C226E6F7465223A226672C3BC686572227D7D','{"result": {"total_counts": 3, "success_counts": 2, "failed_counts": 1, "note": "fr\u00fcher"}, "outputs": [], "error": null, "attempt": 1}',1760000008.0,'pending',NULL);
INSERT INTO "reports" VALUES(3,'broken',1,'/api/task/update_status',X'7B227375627461736B5F6964223A2262726F6B656E222C22737461747573223A317D',NULL,1760000008.0,'delivered',1760000009.0);
INSERT INTO "reports" VALUES(4,'broken',5,'/api/task/update_status',X'7B227375627461736B5F6964223A2262726F6B656E222C22737461747573223A357D','{"result": null, "outputs": [], "error": "it broke", "attempt": 1}',1760000008.0,'pending',NULL);
INSERT INTO "reports" VALUES(5,'over',1,'/api/task/update_status',X'7B227375627461736B5F6964223A226F766572222C22737461747573223A317D',NULL,1760000008.0,'delivered',1760000009.0);
INSERT INTO "reports" VALUES(6,'over',3,'/api/task/result',X'7B227375627461736B5F6964223A226F766572222C22726573756C74223A7B22746F74616C5F636F756E7473223A332C22737563636573735F636F756E7473223A322C226661696C65645F636F756E7473223A312C226E6F7465223A226672C3BC686572227D7D','{"result": {"total_counts": 3, "success_counts": 2, "failed_counts": 1, "note": "fr\u00fcher"}, "outputs": [], "error": null, "attempt": 1}',1760000008.0,'delivered',1760000009.0);
INSERT INTO "reports" VALUES(7,'refused',1,'/api/task/update_status',X'7B227375627461736B5F6964223A2272656675736564222C22737461747573223A317D',NULL,1760000008.0,'delivered',1760000009.0);
INSERT INTO "reports" VALUES(8,'refused',3,'/api/task/result',X'7B227375627461736B5F6964223A2272656675736564222C22726573756C74223A7B22746F74616C5F636F756E7473223A332C22737563636573735F636F756E7473223A322C226661696C65645F636F756E7473223A312C226E6F7465223A226672C3BC686572227D7D','{"result": {"total_counts": 3, "success_counts": 2, "failed_counts": 1, "note": "fr\u00fcher"}, "outputs": [], "error": null, "attempt": 1}',1760000008.0,'refused',1760000009.0);
INSERT INTO "reports" VALUES(9,'half',1,'/api/task/update_status',X'7B227375627461736B5F6964223A2268616C66222C22737461747573223A317D',NULL,1760000008.0,'delivered',1760000009.0);
CREATE TABLE subtasks (
    subtask_id TEXT PRIMARY KEY,
    task_id TEXT,
    plugin TEXT NOT NULL,
    config TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT '{}',
    created REAL NOT NULL
) STRICT;
INSERT INTO "subtasks" VALUES('behind','task','Resumes','{"times": 2}','{}',1760000000.0);
INSERT INTO "subtasks" VALUES('broken','task','Resumes','{"times": 2}','{}',1760000000.0);
INSERT INTO "subtasks" VALUES('over','task','Resumes','{"times": 2}','{}',1760000000.0);
INSERT INTO "subtasks" VALUES('refused','task','Resumes','{"times": 2}','{}',1760000000.0);
INSERT INTO "subtasks" VALUES('half','task','Resumes','{"times": 2}','{"line": 7, "of": "früher"}',1760000000.0);
CREATE TABLE upload_parts (
    subtask_id TEXT NOT NULL,
    name TEXT NOT NULL,
    part INTEGER NOT NULL,
    etag TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (subtask_id, name, part),
    FOREIGN KEY (subtask_id, name) REFERENCES uploads ON DELETE CASCADE
) STRICT;
INSERT INTO "upload_parts" VALUES('half','big.bin',1,'"0cc175b9c0f1b6a831c399e269772661"','1a');
INSERT INTO "upload_parts" VALUES('half','big.bin',3,'W/"odd-3"','3a');
CREATE TABLE uploads (
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    name TEXT NOT NULL,
    upload_id TEXT NOT NULL,
    size INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    urls TEXT NOT NULL,
    completed INTEGER NOT NULL DEFAULT 0, part_size INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (subtask_id, name)
) STRICT;
INSERT INTO "uploads" VALUES('half','big.bin','u-1',15728640,5242880,'["http://127.0.0.1:9/bucket/big.bin?partNumber=1&X-Amz-Signature=canned", "http://127.0.0.1:9/bucket/big.bin?partNumber=2&X-Amz-Signature=canned"]',0,5242880);
CREATE UNIQUE INDEX one_ending ON reports (subtask_id) WHERE outcome IS NOT NULL;
CREATE INDEX reports_in_order ON reports (subtask_id, report_id);
CREATE INDEX events_in_order ON events (subtask_id, event_id);
CREATE INDEX calls_in_order ON calls (at);
CREATE INDEX undelivered ON reports (subtask_id) WHERE fate = 'pending';
CREATE INDEX leases_taken ON leases (service)
    WHERE number > 0 AND coalesce(fate, 'pending') = 'pending';
CREATE INDEX leases_to_notice ON leases (service, changed)
    WHERE fate <> 'pending' AND noticed = 0;
CREATE INDEX leases_over ON leases (changed) WHERE noticed = 1;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('reports',9);
INSERT INTO "sqlite_sequence" VALUES('events',1);
COMMIT;
