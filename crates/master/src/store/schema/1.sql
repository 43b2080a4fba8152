-- The Master's schema, for SQLite and PostgreSQL alike. {KEY} is a primary key that counts itself
-- and is never used twice: references such as COMP-7 are made of it. Times are microseconds since
-- 1970, truth values are 0 and 1, JSON is text.

CREATE TABLE setting (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

-- Addresses of releases, written once: millions of instances point here.
CREATE TABLE release (
  id {KEY},
  url TEXT NOT NULL UNIQUE
);

CREATE TABLE person (
  id {KEY},
  login TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  password_hash TEXT,
  administrator BIGINT NOT NULL,
  disabled_at BIGINT,
  created_at BIGINT NOT NULL
);

CREATE TABLE project (
  id {KEY},
  title TEXT NOT NULL,
  closed_at BIGINT,
  created_at BIGINT NOT NULL
);

CREATE TABLE member (
  project_id BIGINT NOT NULL REFERENCES project(id),
  person_id BIGINT NOT NULL REFERENCES person(id),
  role TEXT NOT NULL,
  PRIMARY KEY (project_id, person_id)
);
CREATE INDEX member_person ON member (person_id);

-- Who a certificate speaks for; the certificate itself is with its owner.
CREATE TABLE certificate (
  id {KEY},
  common_name TEXT NOT NULL UNIQUE,
  serial TEXT NOT NULL UNIQUE,
  fingerprint TEXT NOT NULL,
  -- 'person', 'node' or 'instance', with its key.
  owner_kind TEXT NOT NULL,
  owner_id BIGINT NOT NULL,
  issued_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  revoked_at BIGINT
);
CREATE INDEX certificate_owner ON certificate (owner_kind, owner_id);

-- One-time tokens, by their hash.
CREATE TABLE token (
  id {KEY},
  hash TEXT NOT NULL UNIQUE,
  purpose TEXT NOT NULL,
  person_id BIGINT NOT NULL REFERENCES person(id),
  project_id BIGINT REFERENCES project(id),
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at BIGINT
);
CREATE INDEX token_person ON token (person_id);

-- Signed-in browsers, by the hash of their cookie.
CREATE TABLE session (
  hash TEXT PRIMARY KEY,
  person_id BIGINT NOT NULL REFERENCES person(id),
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX session_person ON session (person_id);

CREATE TABLE network (
  id {KEY},
  project_id BIGINT NOT NULL REFERENCES project(id),
  title TEXT NOT NULL,
  created_at BIGINT NOT NULL
);

-- Compute nodes, and gates to other Masters (kind 'remote').
CREATE TABLE node (
  id {KEY},
  project_id BIGINT NOT NULL REFERENCES project(id),
  kind TEXT NOT NULL,
  title TEXT NOT NULL,
  scope TEXT NOT NULL,
  -- Units it takes at most; none for no limit.
  capacity BIGINT,
  -- Units its instances take.
  used BIGINT NOT NULL,
  -- Free partitions without capabilities.
  free BIGINT NOT NULL,
  -- Whether it answers: kept by what nodes do and by the passing of time.
  alive BIGINT NOT NULL,
  network_id BIGINT REFERENCES network(id),
  categories TEXT NOT NULL,
  -- Rises with every change of what the node is told.
  revision BIGINT NOT NULL,
  description TEXT,
  contact_at BIGINT,
  status_text TEXT,
  status_at BIGINT,
  status_since BIGINT,
  removed_at BIGINT,
  created_at BIGINT NOT NULL
);
CREATE INDEX node_project ON node (project_id, id);

CREATE TABLE partition (
  id {KEY},
  node_id BIGINT NOT NULL REFERENCES node(id),
  name TEXT NOT NULL,
  position BIGINT NOT NULL,
  active BIGINT NOT NULL,
  addresses TEXT NOT NULL,
  capabilities TEXT NOT NULL,
  -- What it holds: one instance at most, and an instance is in one partition at most.
  instance_id BIGINT,
  UNIQUE (node_id, name)
);
CREATE UNIQUE INDEX partition_instance ON partition (instance_id) WHERE instance_id IS NOT NULL;
CREATE INDEX partition_free ON partition (node_id, position) WHERE instance_id IS NULL AND active = 1;

-- Releases asked for on nodes.
CREATE TABLE installation (
  id {KEY},
  node_id BIGINT NOT NULL REFERENCES node(id),
  project_id BIGINT NOT NULL REFERENCES project(id),
  release_id BIGINT NOT NULL REFERENCES release(id),
  state TEXT NOT NULL,
  -- What the node said last: '', 'building', 'available', 'error'.
  reported TEXT NOT NULL,
  status_text TEXT,
  status_at BIGINT,
  status_since BIGINT,
  -- Free partitions of the node if this release can be used on it now, else 0: the order in which
  -- nodes are filled.
  free BIGINT NOT NULL,
  removed_at BIGINT,
  created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX installation_node ON installation (node_id, release_id) WHERE removed_at IS NULL;
CREATE INDEX installation_place ON installation (project_id, release_id, free DESC, node_id) WHERE free > 0;

CREATE TABLE tree (
  id {KEY},
  project_id BIGINT NOT NULL REFERENCES project(id),
  person_id BIGINT NOT NULL REFERENCES person(id),
  title TEXT NOT NULL,
  -- What happens when a better release exists: 'ask' or 'auto'.
  upgrade TEXT NOT NULL,
  archived_at BIGINT,
  created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX tree_title ON tree (person_id, title) WHERE archived_at IS NULL;
CREATE INDEX tree_project ON tree (project_id, id);

CREATE TABLE instance (
  id {KEY},
  tree_id BIGINT NOT NULL REFERENCES tree(id),
  project_id BIGINT NOT NULL REFERENCES project(id),
  title TEXT NOT NULL,
  -- The instance of the tree that asked; none for the root.
  requester_id BIGINT,
  shared BIGINT NOT NULL,
  release_id BIGINT NOT NULL REFERENCES release(id),
  software_type TEXT NOT NULL,
  parameters TEXT NOT NULL,
  sla TEXT NOT NULL,
  connection TEXT,
  -- What it shall be.
  state TEXT NOT NULL,
  -- Rises with every change that needs processing.
  timestamp BIGINT NOT NULL,
  -- Whether it has a partition, or for a shared one a host.
  placed BIGINT NOT NULL,
  -- The instance that serves a shared one.
  host_id BIGINT,
  -- Units of a node's capacity it takes.
  units BIGINT NOT NULL,
  -- What the node said last.
  reported TEXT NOT NULL,
  status_text TEXT,
  status_at BIGINT,
  status_since BIGINT,
  removed_at BIGINT,
  created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX instance_title ON instance (tree_id, title) WHERE removed_at IS NULL;
CREATE INDEX instance_requester ON instance (requester_id) WHERE requester_id IS NOT NULL AND removed_at IS NULL;
CREATE INDEX instance_host ON instance (host_id) WHERE host_id IS NOT NULL;
CREATE INDEX instance_serving ON instance (project_id, release_id, software_type, id) WHERE shared = 0 AND placed = 1 AND removed_at IS NULL;
CREATE INDEX instance_waiting ON instance (project_id, release_id, id) WHERE placed = 0 AND state = 'started' AND removed_at IS NULL;
CREATE INDEX instance_unserved ON instance (project_id, release_id, id) WHERE shared = 1 AND placed = 0 AND state = 'started' AND removed_at IS NULL;

-- The key and certificate an instance was given, sealed.
CREATE TABLE instance_key (
  instance_id BIGINT PRIMARY KEY REFERENCES instance(id),
  certificate TEXT NOT NULL,
  sealed_key TEXT NOT NULL
);

CREATE TABLE product (
  id {KEY},
  project_id BIGINT NOT NULL REFERENCES project(id),
  reference TEXT NOT NULL,
  title TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  UNIQUE (project_id, reference)
);

CREATE TABLE product_release (
  product_id BIGINT NOT NULL REFERENCES product(id),
  release_id BIGINT NOT NULL REFERENCES release(id),
  -- From when on it is the one to use; none for the moment it was added.
  effective_at BIGINT,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (product_id, release_id)
);
CREATE INDEX product_release_release ON product_release (release_id);

-- Units of capacity a software type of a product takes.
CREATE TABLE product_type (
  product_id BIGINT NOT NULL REFERENCES product(id),
  software_type TEXT NOT NULL,
  units BIGINT NOT NULL,
  PRIMARY KEY (product_id, software_type)
);

CREATE TABLE upgrade_decision (
  id {KEY},
  tree_id BIGINT NOT NULL REFERENCES tree(id),
  from_release_id BIGINT NOT NULL REFERENCES release(id),
  to_release_id BIGINT NOT NULL REFERENCES release(id),
  state TEXT NOT NULL,
  decided_at BIGINT,
  decided_by BIGINT,
  created_at BIGINT NOT NULL,
  UNIQUE (tree_id, to_release_id)
);
CREATE INDEX upgrade_decision_open ON upgrade_decision (to_release_id) WHERE state = 'accepted';

CREATE TABLE usage_report (
  id {KEY},
  node_id BIGINT NOT NULL REFERENCES node(id),
  reference TEXT NOT NULL,
  body TEXT NOT NULL,
  received_at BIGINT NOT NULL
);
CREATE INDEX usage_report_node ON usage_report (node_id, id);

-- Gates to other Masters: how a node of kind 'remote' is reached.
CREATE TABLE remote (
  node_id BIGINT PRIMARY KEY REFERENCES node(id),
  master_url TEXT NOT NULL,
  ca_certificate TEXT,
  certificate TEXT,
  sealed_key TEXT,
  -- Releases it takes, as a JSON list; an empty one takes all.
  releases TEXT NOT NULL,
  contact_at BIGINT,
  error TEXT
);

-- What was sent to another Master for an instance, and what came back.
CREATE TABLE remote_instance (
  instance_id BIGINT PRIMARY KEY REFERENCES instance(id),
  node_id BIGINT NOT NULL REFERENCES node(id),
  title TEXT NOT NULL,
  sent_timestamp BIGINT,
  answered_at BIGINT,
  error TEXT
);
CREATE INDEX remote_instance_node ON remote_instance (node_id);

-- Who changed what, and when.
CREATE TABLE audit (
  id {KEY},
  at BIGINT NOT NULL,
  -- Who: 'person', 'node', 'instance' with a key, or 'master'.
  actor_kind TEXT NOT NULL,
  actor_id BIGINT,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  project_id BIGINT,
  detail TEXT NOT NULL
);
CREATE INDEX audit_project ON audit (project_id, id);
CREATE INDEX audit_subject ON audit (subject, id);
