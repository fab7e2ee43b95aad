-- A store as its first version left it: what `MIGRATIONS[0]` was, and a few rows.
CREATE TABLE counters (
    span INTEGER NOT NULL,   -- seconds: 60, 3600 or 86400
    at INTEGER NOT NULL,     -- Unix time of the start, a multiple of span
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (span, at, name)
) WITHOUT ROWID;
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE peers (
    peer_id TEXT PRIMARY KEY,
    received INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    circuits INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO counters VALUES
    (60, 1767268740, 'received', 1000),
    (60, 1767268740, 'sent', 700),
    (3600, 1767000000 - 1767000000 % 3600, 'received', 500),
    (86400, 1750000000 - 1750000000 % 86400, 'circuits', 3);
INSERT INTO state VALUES ('since', '1767200000'), ('relay.pause', '{"until":null}');
INSERT INTO peers VALUES
    ('seen first', 1, 2, 3, 1767000000, 1767000000),
    ('seen last', 4, 5, 6, 1767000000, 1767268740);
PRAGMA user_version = 1;
