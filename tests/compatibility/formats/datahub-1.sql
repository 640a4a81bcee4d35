PRAGMA user_version = 0;
BEGIN TRANSACTION;
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    subtask_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    code INTEGER NOT NULL,
    message TEXT NOT NULL
);
INSERT INTO "events" VALUES(1,1.79543823498922848697e+09,'running','status','{"status": 1}',0,'');
INSERT INTO "events" VALUES(2,1.79543823500274634359e+09,'running','heartbeat','{"timestamp": 1795438234, "process": 40}',0,'');
INSERT INTO "events" VALUES(3,1.79543823500544571874e+09,'done','status','{"status": 1}',0,'');
INSERT INTO "events" VALUES(4,1.79543823501310968399e+09,'done','heartbeat','{"timestamp": 1795438235, "process": 40}',0,'');
INSERT INTO "events" VALUES(5,1.79543823501551771167e+09,'failed','status','{"status": 1}',0,'');
INSERT INTO "events" VALUES(6,1.79543823502088260649e+09,'failed','heartbeat','{"timestamp": 1795438235, "process": 40}',0,'');
INSERT INTO "events" VALUES(7,1.79543823502303338053e+09,'done','upload_init','{"name": "out.txt", "size": 5, "parts": 1}',0,'');
INSERT INTO "events" VALUES(8,1.79543823515733838081e+09,'done','upload','{"name": "out.txt", "size": 5, "parts": 1}',0,'');
INSERT INTO "events" VALUES(9,1.79543823516263842581e+09,'done','result','{"total_counts": 3}',0,'');
INSERT INTO "events" VALUES(10,1.79543823516655921932e+09,'failed','status','{"status": 5}',0,'');
INSERT INTO "events" VALUES(11,1.79543823517196345323e+09,'running','upload_init','{"name": "big.bin", "size": 10485760, "parts": 2}',0,'');
INSERT INTO "events" VALUES(12,1.79543823517335391043e+09,'running','operator','{"status": 2}',0,'');
CREATE TABLE objects (
    key TEXT PRIMARY KEY,
    blob TEXT NOT NULL,
    size INTEGER,                    -- size and etag are null for a linked file: see objects.py
    etag TEXT
) WITHOUT ROWID;
INSERT INTO "objects" VALUES('01675067aee1d71266a1cabd846353b5','8120081cffc805f699d680992cadf4c1',NULL,NULL);
INSERT INTO "objects" VALUES('2b92d93df4427c7c773a5e85bbb53fe5','ee96dbbebb4e4683d283d3b2ec79b2d0',NULL,NULL);
INSERT INTO "objects" VALUES('abf655c9618d90ad69226727a238d325','0bef510307683db88ed5a80b16e6e35d',NULL,NULL);
INSERT INTO "objects" VALUES('c3efa758bb5225da282d8bbcd6f6d856','c0202b7f6df0db106f5514c0d5cb4c0f',5,'"eb61eead90e3b899c6bcbe27ac581660"');
CREATE TABLE parts (
    upload_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    blob TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;
CREATE TABLE secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "secrets" VALUES('storage','c0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0de');
CREATE TABLE subtasks (
    number INTEGER PRIMARY KEY,
    subtask_id TEXT NOT NULL UNIQUE,
    task_id TEXT,
    status INTEGER NOT NULL DEFAULT 0,
    requested INTEGER,               -- what the operator wants, until the plugin confirms it
    progress INTEGER NOT NULL DEFAULT 0,
    heartbeat_at REAL,
    config TEXT NOT NULL,
    result TEXT,
    final_report TEXT,               -- digest of the acknowledged terminal report
    input_key TEXT,
    input_name TEXT,
    created_at REAL NOT NULL
);
INSERT INTO "subtasks" VALUES(1,'new','task',0,NULL,0,NULL,'{"times": 2}',NULL,NULL,NULL,NULL,1.79543823429086923599e+09);
INSERT INTO "subtasks" VALUES(2,'running','task',1,2,40,1.79543823500266885753e+09,'{"times": 2}',NULL,NULL,'01675067aee1d71266a1cabd846353b5','letters.txt',1.79543823429127883915e+09);
INSERT INTO "subtasks" VALUES(3,'done','task',3,NULL,100,1.79543823501309633252e+09,'{"times": 2}','{"total_counts": 3}','747f6fec7f5bdb1c16fd2dc93f4b28a1233fc0dfe5e8cd9587adc97708d2ed5b','abf655c9618d90ad69226727a238d325','letters.txt',1.79543823429141712185e+09);
INSERT INTO "subtasks" VALUES(4,'failed','task',5,NULL,40,1.79543823502087140087e+09,'{"times": 2}',NULL,'0c0a18fb22089a5f668248d9fac300330e637fac38c08ad6620014b46b08ba37','2b92d93df4427c7c773a5e85bbb53fe5','letters.txt',1.79543823429149341586e+09);
CREATE TABLE uploads (
    upload_id TEXT PRIMARY KEY,
    subtask_id TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    multipart INTEGER NOT NULL,
    completed INTEGER UNIQUE,        -- counts completions, in their order
    manifest TEXT                    -- the parts it was completed with
);
INSERT INTO "uploads" VALUES('upload_25758a77ae605585e6408ff4','done','c3efa758bb5225da282d8bbcd6f6d856','out.txt',5,1,0,1,'[[1, "\"eb61eead90e3b899c6bcbe27ac581660\""]]');
INSERT INTO "uploads" VALUES('upload_61be940372a428d1306c7092','running','9b42a7396807bf04599762568ae71fb7','big.bin',10485760,2,1,NULL,NULL);
CREATE INDEX events_of_subtask ON events (subtask_id);
COMMIT;
