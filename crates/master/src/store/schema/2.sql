-- What nodes told of the promises of their instances: one document for each instance, as
-- `slap_server::promises` keeps it.
CREATE TABLE instance_promises (
  instance_id BIGINT PRIMARY KEY REFERENCES instance(id),
  document TEXT NOT NULL
);
