-- What somebody did, as what was done with something.
CREATE INDEX audit_actor ON audit (actor_kind, COALESCE(actor_id, 0), id);

-- What is still there of a tree that is being destroyed, by the title it had.
CREATE INDEX tree_archived ON tree (person_id, title, id) WHERE archived_at IS NOT NULL;
