PRAGMA application_id = 1145589834;
PRAGMA user_version = 3;
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
CREATE TABLE events (
    event_id INTEGER PRIMARY KEY AUTOINCREMENT,
    subtask_id TEXT NOT NULL REFERENCES subtasks ON DELETE CASCADE,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
INSERT INTO "events" VALUES(1,'half',1760000005.0,'stalled','{"seconds": 30}');
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
    completed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (subtask_id, name)
) STRICT;
INSERT INTO "uploads" VALUES('half','big.bin','u-1',15728640,5242880,'["http://127.0.0.1:9/bucket/big.bin?partNumber=1&X-Amz-Signature=canned", "http://127.0.0.1:9/bucket/big.bin?partNumber=2&X-Amz-Signature=canned"]',0);
CREATE UNIQUE INDEX one_ending ON reports (subtask_id) WHERE outcome IS NOT NULL;
CREATE INDEX reports_in_order ON reports (subtask_id, report_id);
CREATE INDEX events_in_order ON events (subtask_id, event_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('reports',9);
INSERT INTO "sqlite_sequence" VALUES('events',1);
COMMIT;
