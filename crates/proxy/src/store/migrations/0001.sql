-- Compute nodes. `formatted` tells those that described themselves from those only named by a supply.
CREATE TABLE node (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  reference TEXT NOT NULL UNIQUE,
  address TEXT,
  netmask TEXT,
  formatted INTEGER NOT NULL DEFAULT 0 CHECK (formatted IN (0, 1))
) STRICT;

-- Partitions in the order their node lists them. One that its node no longer lists stays as long as
-- an instance is on it. `busy` repeats whether an instance points here, so that a free one is found
-- by an index; both are only ever written together.
CREATE TABLE partition (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  node_id INTEGER NOT NULL REFERENCES node (id),
  reference TEXT NOT NULL,
  position INTEGER NOT NULL,
  listed INTEGER NOT NULL DEFAULT 1 CHECK (listed IN (0, 1)),
  busy INTEGER NOT NULL DEFAULT 0 CHECK (busy IN (0, 1)),
  UNIQUE (node_id, reference)
) STRICT;
CREATE INDEX partition_free ON partition (node_id, position) WHERE busy = 0 AND listed = 1;

CREATE TABLE partition_address (
  partition_id INTEGER NOT NULL REFERENCES partition (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  interface TEXT NOT NULL,
  address TEXT NOT NULL,
  netmask TEXT NOT NULL,
  gateway TEXT,
  network TEXT,
  PRIMARY KEY (partition_id, position)
) STRICT, WITHOUT ROWID;

-- What a person requested: a root instance and all that it requested.
CREATE TABLE tree (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  title TEXT NOT NULL,
  shared INTEGER NOT NULL CHECK (shared IN (0, 1)),
  UNIQUE (title, shared)
) STRICT;

-- `parameters` and `sla` are JSON objects, `connection` is one of text or absent before the first
-- publication. `timestamp` is in nanoseconds since the epoch and rises on change only.
CREATE TABLE instance (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  tree_id INTEGER NOT NULL REFERENCES tree (id),
  is_root INTEGER NOT NULL CHECK (is_root IN (0, 1)),
  requester_id INTEGER REFERENCES instance (id) ON DELETE SET NULL,
  title TEXT NOT NULL,
  shared INTEGER NOT NULL CHECK (shared IN (0, 1)),
  reference TEXT UNIQUE,
  release TEXT NOT NULL,
  software_type TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('started', 'stopped', 'destroyed')),
  parameters TEXT NOT NULL,
  sla TEXT NOT NULL,
  connection TEXT,
  timestamp INTEGER NOT NULL,
  partition_id INTEGER UNIQUE REFERENCES partition (id),
  host_id INTEGER REFERENCES instance (id) ON DELETE SET NULL,
  UNIQUE (tree_id, title, shared, is_root),
  CHECK (shared = 0 OR partition_id IS NULL),
  CHECK (shared = 1 OR host_id IS NULL)
) STRICT;
CREATE INDEX instance_requester ON instance (requester_id) WHERE requester_id IS NOT NULL;
CREATE INDEX instance_host ON instance (host_id) WHERE host_id IS NOT NULL;
CREATE INDEX instance_release ON instance (release, software_type) WHERE shared = 0;

-- Software releases asked for on nodes.
CREATE TABLE installation (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  node_id INTEGER NOT NULL REFERENCES node (id),
  release TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('available', 'destroyed')),
  UNIQUE (node_id, release)
) STRICT;

-- Requests that another Master answers, by the title they have there.
CREATE TABLE forwarded_request (
  title TEXT NOT NULL,
  master_url TEXT NOT NULL,
  PRIMARY KEY (title, master_url)
) STRICT, WITHOUT ROWID;

CREATE TABLE setting (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
