-- What instances were before they were changed, a row for each change of what they were told.
CREATE TABLE instance_version (
  id {KEY},
  instance_id BIGINT NOT NULL REFERENCES instance(id),
  -- Until when it was this, and who changed it, as in the audit trail.
  until_at BIGINT NOT NULL,
  actor_kind TEXT NOT NULL,
  actor_id BIGINT,
  release_id BIGINT NOT NULL REFERENCES release(id),
  software_type TEXT NOT NULL,
  parameters TEXT NOT NULL,
  sla TEXT NOT NULL
);
CREATE INDEX instance_version_instance ON instance_version (instance_id, id);
