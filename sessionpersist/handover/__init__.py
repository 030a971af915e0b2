"""Which store, now: the revisions in force, the way from one store to the next, and the nodes that know of it."""
