"""A run with a worker of every kind is stopped: no process is left of any of them, however it resists."""

import pytest

pytestmark = pytest.mark.acceptance

# script, one with effects, one forked twice; command, a deaf one, a check; five deaf coding agents, one forked twice
PROCESSES = 1 + 1 + 2 + 1 + 1 + 1 + 5 + 2


@pytest.mark.parametrize("way", ["SIGINT twice", "SIGTERM", "orchestrate cancel"])
def test_when_a_run_is_stopped_every_process_of_every_kind_of_worker_is_gone(cancel, way):
    ended = cancel(way)

    assert ended.before == PROCESSES
    assert ended.left == 0
    assert ended.exit_code == 130
    assert ended.statuses.pop("person") == "waiting", "who waits for a person holds no process and goes on waiting"
    assert ended.statuses.pop("script-once") == "needs_review", "it must not happen twice, and may have happened"
    assert set(ended.statuses.values()) == {"cancelled" if way == "orchestrate cancel" else "pending"}
