"""One file per kind of worker. Each runner takes `Work` and returns an `Outcome` or raises `AttemptError`."""
