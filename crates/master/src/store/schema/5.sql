-- What somebody did, as what was done with something.
CREATE INDEX audit_actor ON audit (actor_kind, COALESCE(actor_id, 0), id);
