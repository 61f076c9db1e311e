"""Many tasks at once, in one process and in several."""

import asyncio
import sys

from orchestration.workspace import Conflict, LeftState, Merged, Workspaces


async def test_eight_tasks_open_work_and_merge_at_once(repo):
    async def one(number):
        workspaces = Workspaces(repo.path, "demo")  # each its own, as separate orchestrators would have
        workspace = await workspaces.open(f"t{number}")
        repo.write(f"{number}.txt", f"{number}\n", workspace.path)
        await workspace.commit(f"Do {number}")
        merged = await workspace.merge(f"Merge {number}")
        assert isinstance(merged, Merged)
        assert await workspace.remove() is None
        return merged.commit

    commits = await asyncio.gather(*map(one, range(8)))
    assert repo.status() == ""
    assert all(repo.read(f"{number}.txt") == f"{number}\n" for number in range(8))
    assert set(repo.git("rev-list", "--first-parent", "HEAD").split()) >= set(commits)
    assert repo.git("for-each-ref", "refs/heads/orchestrate", "refs/orchestrate") == ""
    assert not [*(repo.path / ".git").rglob("*.lock")]


async def test_one_of_many_that_changed_the_same_line_wins_and_the_others_hear_of_the_conflict(repo, workspaces):
    opened = await asyncio.gather(*(workspaces.open(f"t{number}") for number in range(8)))

    async def one(number):
        workspace = opened[number]
        repo.write("a.txt", f"one\n{number}\nthree\n", workspace.path)
        await workspace.commit(f"Do {number}")
        return await workspace.merge(f"Merge {number}")

    outcomes = await asyncio.gather(*map(one, range(8)))
    assert sum(isinstance(outcome, Merged) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 7
    assert repo.status() == ""
    states = [left.state for left in await workspaces.list_left()]
    assert sorted(states) == [LeftState.MERGED] + [LeftState.UNMERGED] * 7


async def test_the_same_task_opened_at_once_is_one_workspace(repo, workspaces):
    opened = await asyncio.gather(*(workspaces.open("t") for _ in range(4)))
    assert len({workspace.path for workspace in opened}) == 1
    assert repo.git("worktree", "list").count("\n") == 1


async def test_orchestrators_of_two_projects_share_a_root(repo):
    script = (
        "import asyncio, sys; from pathlib import Path; from orchestration.workspace import Workspaces\n"
        "async def main():\n"
        "    for n in range(3):\n"
        "        w = await Workspaces(Path(sys.argv[1]), sys.argv[2]).open(f't{n}')\n"
        "        (w.path / f'{sys.argv[2]}{n}').write_text('x')\n"
        "        await w.commit('Do it')\n"
        "        print(type(await w.merge('Merge it')).__name__)\n"
        "asyncio.run(main())"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(repo.path), project, stdout=asyncio.subprocess.PIPE
        )
        for project in ("p", "q")
    ]
    said = [(await process.communicate())[0].split() for process in processes]
    assert said == [[b"Merged"] * 3] * 2
    assert repo.status() == ""
    assert all((repo.path / f"{project}{number}").exists() for project in "pq" for number in range(3))
