"""Three coding agents in worktrees of one repository: checks, conflicts, reviews, merges, and what a kill leaves."""

import os
import signal

import pytest

pytestmark = pytest.mark.acceptance

CODERS = ("discount", "tax", "shipping")
HANG = [{"say": "Let me see."}, {"hang": True}]
GIVE_UP = [{"say": "These two cannot be brought together."}]
BOTH = """\
from shop.shipping import add_shipping
from shop.tax import add_tax

RULES: tuple[Callable[[int], int], ...] = (add_shipping, add_tax)
"""


def resolve(file):
    """Edit a file with conflict markers as a person would."""
    head, _, rest = file.read_text().partition("<<<<<<<")
    rest = rest.rpartition(">>>>>>>")[2].partition("\n")[2]
    file.write_text(head + BOTH + rest[rest.index("\n\ndef total") :])


def check_all_is_merged(shop):
    """See that the tree has all work, that all of it is in commits, and that nothing else is left."""
    assert {task["status"] for task in shop.status().values()} == {"completed"}
    for task in CODERS:
        shop.git("merge-base", "--is-ancestor", shop.show(task)["result"]["metadata"]["workspace"]["commit"], "HEAD")
        assert (shop.folder / "shop" / f"{task}.py").is_file()
        assert (shop.folder / "notes" / f"{task}.md").is_file()
    assert "add_shipping and add_tax" in shop("python3", "release.py")
    assert shop.git("status", "--porcelain") == ""
    assert shop.git("branch", "--list", "orchestrate/*") == ""
    assert shop.git("worktree", "list").count("\n") == 1
    assert shop.count() == 0


def in_review(shop, cause):
    """Return the tasks that are under review for this cause."""
    return [
        name
        for name, task in shop.status().items()
        if task["status"] == "needs_review" and shop.show(name)["cause"] == cause
    ]


def kill(process):
    """Kill the orchestrator alone."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)


def outbox(shop):
    file = shop.folder / "outbox.log"
    return [tuple(line.split()[:2]) for line in file.read_text().splitlines()] if file.exists() else []


def test_three_agents_work_at_once_one_mends_its_check_one_conflicts_and_all_is_merged(shop):
    printed = shop("orchestrate", "run").splitlines()

    assert [line.split("  ")[2] for line in printed[:3]] == ["running"] * 3, "they begin before any of them is done"
    check_all_is_merged(shop)
    calls = shop.calls()
    assert sorted(call["task_id"] for call in calls) == ["discount", "discount", "shipping", "tax"]
    assert len({call["cwd"] for call in calls}) == 3
    (_, mending) = (call for call in calls if call["task_id"] == "discount")
    assert "AssertionError: 10000 != 9000" in mending["prompt"]
    (resolving,) = shop.calls("integrator")
    assert "shop/__init__.py" in resolving["prompt"]
    assert shop.git("log", "--merges", "--format=%s").count("Merge task") == 3
    assert sorted(outbox(shop)) == [(what, f"announce.{n}") for what in ("sending", "sent") for n in (1, 2)]


def test_a_conflict_waits_for_a_person_who_merges_by_hand_and_approves(shop):
    shop.change("orchestrate.yaml", "    on_conflict: integrator\n", "")

    shop("orchestrate", "run")
    (task,) = in_review(shop, "conflict")
    metadata = shop.show(task)["result"]["metadata"]
    assert "<<<<<<<" in metadata["diff"]
    assert outbox(shop) == []

    shop.git("merge", metadata["workspace"]["branch"], exit_code=1)
    resolve(shop.folder / "shop" / "__init__.py")
    shop.git("commit", "--quiet", "--all", "--no-edit")
    shop("orchestrate", "approve", task)
    shop("orchestrate", "run")

    check_all_is_merged(shop)
    assert len(shop.calls()) == 4, "nobody has worked again"


def test_what_the_integrator_leaves_unresolved_a_person_resolves_in_the_worktree(shop):
    shop.integrate(GIVE_UP)

    shop("orchestrate", "run")
    (task,) = in_review(shop, "conflict")
    result = shop.show(task)["result"]
    assert result["output"].startswith("Every total includes"), "the work itself is kept"
    assert "<<<<<<<" in result["metadata"]["diff"]

    resolve(shop.folder / ".orchestration" / "worktrees" / "shop" / task / "shop" / "__init__.py")
    shop("orchestrate", "approve", task)
    shop("orchestrate", "run")

    check_all_is_merged(shop)
    assert len(shop.calls("integrator")) == 1
    assert len(shop.calls()) == 4


def test_killed_while_a_conflict_is_resolved_it_is_resolved_again_and_the_work_is_not_repeated(shop):
    shop.integrate(HANG)
    run = shop.start("orchestrate", "run")
    shop.until(lambda: shop.calls("integrator") and shop.status()["discount"]["status"] == "completed")
    kill(run)

    shop("orchestrate", "run")

    check_all_is_merged(shop)
    assert len(shop.calls("integrator")) == 2
    assert "shop/__init__.py" in shop.calls("integrator")[1]["prompt"]
    assert len(shop.calls()) == 4


def test_killed_while_it_sends_a_task_that_must_not_happen_twice_waits_for_a_person_s_word(shop):
    shop.change("announce.py", "time.sleep(0.3)  # the network", "time.sleep('chat' in task['prompt'] and 3600)")
    run = shop.start("orchestrate", "run")
    shop.until(lambda: len(outbox(shop)) == 3)
    assert ("sending", "announce.2") in outbox(shop)
    assert ("sent", "announce.1") in outbox(shop)
    kill(run)

    shop("orchestrate", "run")
    asked = in_review(shop, "effect")
    shop("orchestrate", "run")

    assert "announce.2" in asked
    assert len(outbox(shop)) == 3, "nothing is sent without a word"
    assert shop.count() == 0

    if "announce.1" in asked:  # it was sent, and killed before that was on the disk
        shop("orchestrate", "approve", "announce.1")
    (shop.folder / "announce.py").write_text((shop.folder / "announce.py").read_text().replace("3600", "0"))
    shop("orchestrate", "reset", "announce.2")
    shop.git("commit", "--quiet", "--all", "--message", "Mend the network")
    shop("orchestrate", "run")

    check_all_is_merged(shop)
    sent = [line.split() for line in (shop.folder / "outbox.log").read_text().splitlines()]
    keys = {key for _, task, key in sent if task == "announce.2"}
    assert len(keys) == 1, "whoever receives it can tell that it is the same"
    assert sorted((what, task) for what, task, _ in sent) == [
        ("sending", "announce.1"),
        ("sending", "announce.2"),
        ("sending", "announce.2"),
        ("sent", "announce.1"),
        ("sent", "announce.2"),
    ]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("seed", "reviewer"), [(1, "agent"), (2, "person"), (9, "agent"), (11, "person")])
def test_killed_at_random_moments_nothing_is_lost_nothing_left_and_nothing_done_twice(lives, seed, reviewer):
    story = lives(seed, reviewer)

    assert story.wrong == {}
    assert story.ended == "completed"
    assert story.kills >= 1
    assert story.answers["conflict"] == (reviewer == "person")
