PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE claims (
    upload_id TEXT NOT NULL,         -- of a part that is being written to its place
    number INTEGER NOT NULL,
    PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    subtask_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    code INTEGER NOT NULL,
    message TEXT NOT NULL
);
INSERT INTO "events" VALUES(1,1.79543823823556709289e+09,'running','status','{"status": 1}',0,'');
INSERT INTO "events" VALUES(2,1.79543823824278426168e+09,'running','heartbeat','{"timestamp": 1795438238, "process": 40}',0,'');
INSERT INTO "events" VALUES(3,1.79543823825069665911e+09,'done','status','{"status": 1}',0,'');
INSERT INTO "events" VALUES(4,1.79543823825546574593e+09,'done','heartbeat','{"timestamp": 1795438238, "process": 40}',0,'');
INSERT INTO "events" VALUES(5,1.79543823825846695901e+09,'failed','status','{"status": 1}',0,'');
INSERT INTO "events" VALUES(6,1.79543823826596045498e+09,'failed','heartbeat','{"timestamp": 1795438238, "process": 40}',0,'');
INSERT INTO "events" VALUES(7,1.79543823826827883723e+09,'done','upload_init','{"name": "out.txt", "size": 5, "parts": 1}',0,'');
INSERT INTO "events" VALUES(8,1.79543823839256858824e+09,'done','upload','{"name": "out.txt", "size": 5, "parts": 1}',0,'');
INSERT INTO "events" VALUES(9,1.79543823840461945536e+09,'done','result','{"total_counts": 3}',0,'');
INSERT INTO "events" VALUES(10,1.79543823841592669479e+09,'failed','status','{"status": 5}',0,'');
INSERT INTO "events" VALUES(11,1.79543823841797828676e+09,'running','upload_init','{"name": "big.bin", "size": 10485760, "parts": 2}',0,'');
INSERT INTO "events" VALUES(12,1.7954382384190332889e+09,'running','operator','{"status": 2}',0,'');
CREATE TABLE inputs (
    key TEXT PRIMARY KEY,            -- of an object that no upload made
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    added_at REAL NOT NULL
);
CREATE TABLE logs (
    number INTEGER PRIMARY KEY,
    subtask_id TEXT NOT NULL,
    at REAL NOT NULL,
    level TEXT NOT NULL,
    logger TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE TABLE objects (
    key TEXT PRIMARY KEY,
    blob TEXT NOT NULL,
    size INTEGER,                    -- size and etag are null for a linked file: see objects.py
    etag TEXT
) WITHOUT ROWID;
INSERT INTO "objects" VALUES('7627aa90f0bfd5a38a430db2a54bb5b4','187644e78fc7de8cd4dba4e4463b3ef4',NULL,NULL);
INSERT INTO "objects" VALUES('880d05adb0004a79ecdeb41704186f79','b4761a8de3f5c153a88bda9253211b9e',NULL,NULL);
INSERT INTO "objects" VALUES('bb6b29b3663ae5b9d4f743b50769aa9a','e4ad01d30083f3bee6b69bd0c5e86552',5,'"eb61eead90e3b899c6bcbe27ac581660"');
INSERT INTO "objects" VALUES('d624d837de697d2afd03e0365c6c3b4b','f30cedf5022494997e7dc93e89df854f',NULL,NULL);
CREATE TABLE parts (
    upload_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    blob TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;
CREATE TABLE plugins (
    name TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    base TEXT NOT NULL,              -- where its calls and its config.js are
    version TEXT NOT NULL
);
CREATE TABLE secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "secrets" VALUES('storage','c0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0de');
CREATE TABLE services (url TEXT PRIMARY KEY, added_at REAL NOT NULL);
CREATE TABLE subtasks (
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
INSERT INTO "subtasks" VALUES(1,'new','task',NULL,NULL,0,NULL,'none',0,NULL,NULL,0,1.79543823724286913867e+09,NULL,NULL,NULL,NULL,NULL,1,NULL,NULL,NULL,NULL,'{"times": 2}',NULL);
INSERT INTO "subtasks" VALUES(2,'running','task',NULL,NULL,1,2,'none',0,NULL,NULL,40,1.79543823724352312083e+09,1.79543823823542165758e+09,NULL,1.79543823824270462989e+09,1.7954382384178919792e+09,NULL,15,'880d05adb0004a79ecdeb41704186f79','letters.txt',14,NULL,'{"times": 2}',NULL);
INSERT INTO "subtasks" VALUES(3,'done','task',NULL,NULL,3,NULL,'none',0,NULL,NULL,100,1.79543823724378848074e+09,1.79543823825065135954e+09,1.7954382384044642448e+09,1.79543823825544095044e+09,1.7954382384044642448e+09,NULL,12,'d624d837de697d2afd03e0365c6c3b4b','letters.txt',14,'747f6fec7f5bdb1c16fd2dc93f4b28a1233fc0dfe5e8cd9587adc97708d2ed5b','{"times": 2}','{"total_counts": 3}');
INSERT INTO "subtasks" VALUES(4,'failed','task',NULL,NULL,5,NULL,'none',0,NULL,NULL,40,1.7954382372439391613e+09,1.79543823825842666628e+09,1.7954382384155876636e+09,1.79543823826593828196e+09,1.7954382384155876636e+09,NULL,14,'7627aa90f0bfd5a38a430db2a54bb5b4','letters.txt',14,'0c0a18fb22089a5f668248d9fac300330e637fac38c08ad6620014b46b08ba37','{"times": 2}',NULL);
CREATE TABLE uploads (
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
INSERT INTO "uploads" VALUES('upload_584eb09ce3a85327ec441804','done','bb6b29b3663ae5b9d4f743b50769aa9a','out.txt',5,1,0,NULL,NULL,1,NULL,NULL,0,1,'[[1, "\"eb61eead90e3b899c6bcbe27ac581660\""]]');
INSERT INTO "uploads" VALUES('upload_0f53555faf8150001388a518','running','ee8e2cdb814d572188288bcda3957d59','big.bin',10485760,2,1,5242880,NULL,0,NULL,NULL,0,NULL,NULL);
CREATE INDEX subtasks_of_task ON subtasks (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX subtasks_of_input ON subtasks (input_key) WHERE input_key IS NOT NULL;
CREATE INDEX subtasks_by_status ON subtasks (status);
CREATE INDEX subtasks_waiting ON subtasks (plugin) WHERE dispatch = 'waiting';
CREATE INDEX subtasks_to_tell ON subtasks (plugin) WHERE tell IS NOT NULL;
CREATE INDEX subtasks_heard ON subtasks (seen_at)
    WHERE status IN (1, 2) AND lost_at IS NULL;
CREATE TRIGGER subtask_made AFTER INSERT ON subtasks BEGIN
    UPDATE subtasks SET revision = (SELECT COALESCE(MAX(revision), 0) + 1 FROM subtasks)
        WHERE number = NEW.number;
END;
CREATE TRIGGER subtask_changed AFTER UPDATE OF task_id, plugin, service, status,
    requested, dispatch, reason, progress, started_at, ended_at, heartbeat_at, lost_at, input_name,
    input_size, config, result ON subtasks
BEGIN
    UPDATE subtasks SET revision = (SELECT MAX(revision) + 1 FROM subtasks)
        WHERE number = NEW.number;
END;
CREATE INDEX events_of_subtask ON events (subtask_id);
CREATE INDEX logs_of_subtask ON logs (subtask_id);
CREATE INDEX uploads_of_subtask ON uploads (subtask_id);
CREATE INDEX uploads_by_key ON uploads (key);
CREATE INDEX uploads_live ON uploads (subtask_id)
    WHERE completed IS NULL AND NOT cleared;
COMMIT;
