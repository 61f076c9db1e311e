"""From what a worker did to a result that counts: real repositories, real programs, real checks.

Each worker is a program that carries out the Python in its task's description; every run of one is noted in a file.
"""

import asyncio
import hashlib
import os
import subprocess
import sys
import textwrap
from contextlib import suppress

import pytest

from orchestration import events as ev
from orchestration.agent_registry import AgentConfig, AgentRegistry, AgentType
from orchestration.errors import StoreError
from orchestration.executor import TaskExecutor
from orchestration.fold import fold
from orchestration.orchestrator import ProjectOrchestrator
from orchestration.retry import RetryPolicy
from orchestration.store.memory import MemoryStore
from orchestration.task import AddsTasks, AgentTask, Check, ExecutionStatus, FailureKind, TaskStatus

AT_ONCE = RetryPolicy(base_delay_s=0.0, max_delay_s=0.0)

WORKER = """
import json, os, sys
from pathlib import Path

task = json.load(sys.stdin)
prompt = task["prompt"]
attempt = int(os.environ["ORCHESTRATION_ATTEMPT"])
with open(os.path.join(os.path.dirname(__file__), "runs"), "a") as runs:
    runs.write(f"{task['task_id']} {attempt}\\n")
exec(task["description"])
"""
JUDGE = """
import json, sys
from pathlib import Path

said = Path(__file__).with_name("judgement").read_text()
Path(__file__).with_name("asked").write_text(json.load(sys.stdin)["prompt"])
if said == "fails":
    Path(__file__).with_name("judgement").write_text("0.9")
    sys.exit("the judge is out")
if said == "out":
    sys.exit("the judge is out")
print(json.dumps({"reason": "because", "score": float(said)}))
"""
RESOLVER = """
import re
from pathlib import Path

for path in Path().glob("*.txt"):
    both = re.sub(r"(?ms)^[|]{7}.*?(?=^=======)", "", path.read_text())
    path.write_text(re.sub(r"(?m)^(<{7}|={7}|>{7}).*[\\n]", "", both))
print("resolved")
"""


class Place:
    """A repository, the programs beside it, and projects in it."""

    def __init__(self, folder):
        self.folder, self.root = folder, folder / "project"
        self.root.mkdir()
        self.stores = []
        for name, text in (("worker", WORKER), ("judge", JUDGE), ("resolver", RESOLVER), ("idle", "print('done')")):
            (folder / f"{name}.py").write_text(text)

    def git(self, *args):
        done = subprocess.run(["git", *args], cwd=self.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip("\n")

    def commit(self, name, text):
        (self.root / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-qm", f"Write {name}")

    def runs(self):
        file = self.folder / "runs"
        return file.read_text().splitlines() if file.exists() else []

    def judgement(self, said):
        (self.folder / "judgement").write_text(str(said))

    def open(self, *tasks, store=None, root=True):
        registry = AgentRegistry()
        for name in ("worker", "judge", "resolver", "idle"):
            command = (sys.executable, str(self.folder / f"{name}.py"))
            registry.register_agent(AgentConfig(name, AgentType.SCRIPT, command=command))
        registry.register_agent(AgentConfig("person", AgentType.HUMAN))
        folder = self.root if root else None
        project = ProjectOrchestrator(
            folder,
            registry=registry,
            executor=TaskExecutor(registry, root=folder, retry=AT_ONCE),
            **({} if store is None else {"store": store}),
        )
        for task in tasks:
            project.add_task(task)
        return project

    async def run(self, *tasks, **options):
        async with self.open(*tasks, **options) as project:
            await project.execute_workflow()
        return project

    def read(self, name):
        return (self.root / name).read_text()

    def subjects(self):
        return self.git("log", "--format=%s").splitlines()


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    config = tmp_path / "gitconfig"
    config.write_text("[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = main\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    place = Place(tmp_path)
    place.git("init", "-q")
    place.commit("a.txt", "one\ntwo\nthree\n")
    return place


def work(task_id, code, *checks, agent="worker", workspace="worktree", **fields):
    code = textwrap.dedent(code).strip()
    return AgentTask(task_id, f"Do {task_id}", code, agent=agent, workspace=workspace, checks=checks, **fields)


def write(name, text="text"):
    return f"Path({name!r}).write_text({text!r}); print('done')"


def known(project, task_id="t"):
    return project.state.find(task_id)


def metadata(project, task_id="t"):
    return known(project, task_id).result.metadata


# -- worktrees


async def test_work_is_done_in_a_worktree_committed_merged_and_listed(place):
    project = await place.run(work("t", write("b.txt") + "; print(os.getcwd())"))
    assert known(project).status is TaskStatus.COMPLETED
    assert "worktrees" in known(project).result.output
    assert place.read("b.txt") == "text"
    assert "Do t" in place.subjects()[0] or "Do t" in place.subjects()[1]
    [file] = metadata(project)["files"]
    assert (file["path"], file["change"], file["size_bytes"]) == ("b.txt", "added", 4)
    assert metadata(project)["workspace"]["merged"] == place.git("rev-parse", "HEAD")
    assert place.git("status", "--porcelain") == ""
    assert place.git("worktree", "list").count("\n") == 0


async def test_dependents_see_what_was_merged(place):
    reads = work("u", "print(Path('b.txt').read_text())", dependencies=("t",))
    project = await place.run(work("t", write("b.txt", "from t")), reads)
    assert known(project, "u").result.output.strip() == "from t"


async def test_work_that_changes_nothing_leaves_nothing_behind(place):
    before = place.git("rev-parse", "HEAD")
    project = await place.run(work("t", "print('looked')"))
    assert known(project).status is TaskStatus.COMPLETED
    assert "workspace" not in metadata(project)
    assert place.git("rev-parse", "HEAD") == before
    assert place.git("branch", "--list", "orchestrate/*") == ""


async def test_a_dirty_tree_is_refused_with_what_to_do(place):
    (place.root / "a.txt").write_text("not committed")
    project = await place.run(work("t", write("b.txt")))
    result = known(project).result
    assert (result.failure_kind, place.runs()) == (FailureKind.UNAVAILABLE, [])
    assert "a.txt" in result.error
    assert "commit" in result.error


async def test_a_folder_without_git_is_refused_with_what_to_do(tmp_path):
    place = Place(tmp_path)
    project = await place.run(work("t", write("b.txt")))
    assert known(project).result.failure_kind is FailureKind.UNAVAILABLE
    assert "`workspace: shared` works in the folder itself" in known(project).result.error


@pytest.mark.parametrize("ruin", ["shutil.rmtree(os.getcwd())", "Path('.git').unlink()"])
async def test_an_attempt_that_ruins_its_worktree_is_followed_by_one_that_has_a_whole_one(place, ruin):
    code = f"""
        import shutil
        Path('b.txt').write_text(f'{{attempt}}')
        if attempt == 1:
            {ruin}
        print('done')
    """
    project = await place.run(work("t", code, max_attempts=2))
    assert known(project).status is TaskStatus.COMPLETED
    assert (place.runs(), place.read("b.txt")) == (["t 1", "t 2"], "2")


async def test_files_that_a_check_leaves_are_nobodys_work(place):
    writes = (sys.executable, "-c", "open('report.xml', 'w')")
    project = await place.run(work("t", write("b.txt"), Check(command=writes)))
    assert known(project).status is TaskStatus.COMPLETED
    assert [file["path"] for file in known(project).result.metadata["files"]] == ["b.txt"]
    assert (place.read("b.txt"), (place.root / "report.xml").exists()) == ("text", False)


async def test_a_lock_that_an_attempt_leaves_is_not_in_the_way_of_the_next(place):
    code = """
        import subprocess
        folder = subprocess.run(['git', 'rev-parse', '--git-dir'], capture_output=True, text=True).stdout.strip()
        Path('b.txt').write_text('text')
        if attempt == 1:
            Path(folder, 'index.lock').touch()
        print('done')
    """
    project = await place.run(work("t", code, max_attempts=2))
    assert known(project).status is TaskStatus.COMPLETED
    assert place.read("b.txt") == "text"


@pytest.mark.parametrize(("ruin", "status"), [("pass", "completed"), ("shutil.rmtree(os.getcwd())", "failed")])
async def test_a_retry_needs_the_projects_folder_in_order_only_for_a_worktree_that_is_lost(place, ruin, status):
    code = f"""
        import shutil, subprocess
        if attempt == 1:
            subprocess.run(['git', 'checkout', '-q', '--detach'], cwd={str(place.root)!r}, check=True)
            {ruin}
        else:
            subprocess.run(['git', 'checkout', '-q', 'main'], cwd={str(place.root)!r}, check=True)
            print('done')
    """
    project = await place.run(work("t", code, Check(matches="done"), max_attempts=2))
    assert known(project).status.value == status
    assert (known(project).result.metadata.get("refusal") == "detached") == (status == "failed")


async def test_a_project_in_memory_has_no_worktrees(place):
    project = await place.run(work("t", write("b.txt")), root=False)
    assert "the project is in memory; give it a project_root" in known(project).result.error


async def test_an_empty_folder_of_its_own_goes_when_the_work_is_done(place):
    code = "assert not list(Path().iterdir()); Path('x').write_text(''); print(os.getcwd())"
    project = await place.run(work("t", code, workspace="none"))
    folder = known(project).result.output.strip()
    assert folder.startswith(str(place.root / ".orchestration" / "scratch"))
    assert folder not in map(str, (place.root / ".orchestration" / "scratch").iterdir())


async def test_a_shared_folder_is_where_it_works_and_what_it_wrote_in_its_scope_is_listed(place):
    code = "Path('out').mkdir(); Path('out/x.md').write_text('x'); Path('y.md').write_text('y')"
    project = await place.run(work("t", code, workspace="shared", writes=("out/**",)))
    assert [file["path"] for file in metadata(project)["files"]] == ["out/x.md"]


async def test_an_output_file_is_listed_with_the_hash_of_what_is_written(place):
    project = await place.run(work("t", "print('text')", workspace="shared", output_file="out.md"))
    [file] = metadata(project)["files"]
    assert file["sha256"] == hashlib.sha256((place.root / "out.md").read_bytes()).hexdigest()


async def test_what_is_written_out_of_scope_has_to_be_taken_back(place):
    code = """
        if attempt == 2:
            assert prompt.count("outside of what the task may write") == 2  # here, and in what is told
            Path("secret.txt").unlink()
            print("taken back")
        else:
            Path("src").mkdir()
            Path("src/x.py").write_text("x")
            Path("secret.txt").write_text("s")
    """
    project = await place.run(work("t", code, writes=("src/**",)))
    assert (known(project).status, len(place.runs())) == (TaskStatus.COMPLETED, 2)
    assert not (place.root / "secret.txt").exists()
    assert place.read("src/x.py") == "x"


# -- checks


@pytest.mark.parametrize(
    ("check", "right", "wrong", "evidence"),
    [
        (Check(command=(sys.executable, "-c", "open('b.txt')")), write("b.txt"), "print(1)", "FileNotFoundError"),
        (
            Check(schema={"type": "object", "required": ["n"]}),
            "print('{\"n\": 1}')",
            "print('{}')",
            "'n' is missing|required",
        ),
        (Check(matches="^ok"), "print('ok')", "print('no')", r"\^ok"),
        (Check(files=("b.txt",)), write("b.txt"), "print(1)", r"b\.txt"),
        (Check(changed=("*.txt",)), write("b.txt"), "print(1)", r"\*\.txt"),
    ],
    ids=lambda value: value.kind if isinstance(value, Check) else "",
)
async def test_a_check_that_fails_tells_the_next_attempt_what_it_saw(place, check, right, wrong, evidence):
    code = f"Path({str(place.folder / 'told')!r}).write_text(prompt)\n"
    code += f"if attempt == 2:\n    {right}\nelse:\n    {wrong}\n"
    fields = {"output_schema": {"type": "object"}} if check.schema else {}
    project = await place.run(work("t", code, check, **fields))
    assert (known(project).status, place.runs()) == (TaskStatus.COMPLETED, ["t 1", "t 2"])
    _, _, told = (place.folder / "told").read_text().partition("Your last attempt was not accepted.")
    assert known(project).verdicts[-1].is_passed
    with pytest.raises(AssertionError, match=evidence):
        raise AssertionError(told)


async def test_checks_that_never_pass_fail_the_task_after_as_many_attempts_as_it_has(place):
    project = await place.run(work("t", "print('no')", Check(matches="^ok"), max_attempts=2))
    result = known(project).result
    assert (result.status, result.failure_kind) == (ExecutionStatus.FAILED, FailureKind.CHECK_FAILED)
    assert (len(place.runs()), known(project).claim) == (2, None)
    assert place.git("status", "--porcelain") == ""


async def test_what_failed_its_checks_is_corrected_by_the_next_run_with_what_was_seen(place):
    check = Check(files=("b.txt",))
    wrong = work("t", "print('no')", check, max_attempts=1)
    await place.run(wrong)
    code = f"Path({str(place.folder / 'told')!r}).write_text(prompt); Path('b.txt').write_text('b')"
    project = await place.run(work("t", code, check))
    assert known(project).status is TaskStatus.COMPLETED


async def test_a_judge_scores_the_result_and_is_shown_the_change(place):
    place.judgement(0.8)
    check = Check(judge="judge", criteria="It must be funny.", threshold=0.8)
    project = await place.run(work("t", write("b.txt", "a joke"), check))
    assert known(project).status is TaskStatus.COMPLETED
    asked = (place.folder / "asked").read_text()
    assert "It must be funny." in asked
    assert "+a joke" in asked
    assert known(project).verdicts[0].evidence == "0.8 of 0.8 needed: because"


async def test_a_judge_below_the_threshold_sends_it_back(place):
    place.judgement(0.5)
    project = await place.run(work("t", write("b.txt"), Check(judge="judge"), max_attempts=2))
    assert known(project).result.failure_kind is FailureKind.CHECK_FAILED
    assert "0.5 of 0.7 needed: because" in known(project).result.error
    assert not (place.root / "b.txt").exists()


async def test_work_whose_judge_is_out_is_kept_and_judged_by_the_next_run(place):
    place.judgement("out")
    task = work("t", write("b.txt"), Check(judge="judge"))
    project = await place.run(task)
    assert known(project).status is TaskStatus.FAILED
    assert "judge 'judge' came to no verdict" in known(project).result.error
    place.judgement(0.9)
    project = await place.run(task)
    assert known(project).status is TaskStatus.COMPLETED
    assert (place.runs(), place.read("b.txt")) == (["t 1"], "text")


async def test_work_whose_judge_is_out_is_done_again_if_a_person_wants_it(place):
    place.judgement("out")
    task = work("t", write("b.txt"), Check(judge="judge"))
    await place.run(task)
    place.judgement(0.9)
    async with place.open(task) as project:
        project.reset("t")
        await project.execute_workflow()
    assert place.runs() == ["t 1", "t 2"]


async def test_a_judge_that_is_a_person_or_nobody_is_a_mistake_of_the_project(place):
    for judge, problem in (("person", "is a person and cannot be sent"), ("nobody", "'nobody' is unknown")):
        project = await place.run(work(f"t-{judge}", "print(1)", Check(judge=judge), workspace="shared"))
        assert problem in known(project, f"t-{judge}").result.error


# -- people


async def test_a_person_has_the_last_word_and_only_then_it_is_merged(place):
    task = work("t", write("b.txt"), Check(files=("b.txt",)), Check(person=True, criteria="Is it nice?"))
    async with place.open(task) as project:
        assert (await project.execute_workflow()).status == "waiting"
        assert (known(project).need, metadata(project)["asks"]) == ("approval", "Is it nice?")
        assert not (place.root / "b.txt").exists()
    async with place.open(task) as project:
        project.approve("t")
        assert known(project).status is TaskStatus.PENDING
        assert (await project.execute_workflow()).status == "completed"
        assert (place.read("b.txt"), place.runs()) == ("text", ["t 1"])
        assert "asks" not in metadata(project)


async def test_a_rejected_piece_of_work_is_done_again_on_top_of_itself(place):
    code = (
        "Path('b.txt').write_text('better' if prompt.count('once more') == 2 else 'first')"  # here, and as it is told
    )
    task = work("t", code, mode="hybrid")
    async with place.open(task) as project:
        await project.execute_workflow()
        project.reject("t", "once more")
        await project.execute_workflow()
        project.approve("t")
        assert (await project.execute_workflow()).status == "completed"
    assert place.read("b.txt") == "better"


async def test_what_a_person_answers_is_checked_and_asked_for_again_until_it_passes(place):
    task = AgentTask("t", "Say it", agent="person", checks=(Check(matches="^ok"),))
    async with place.open(task) as project:
        await project.execute_workflow()
        project.answer("t", "no")
        assert (await project.execute_workflow()).status == "waiting"
        assert known(project).need == "answer"
        project.answer("t", "ok then")
        assert (await project.execute_workflow()).status == "completed"
    assert known(project).result.output == "ok then"


async def test_tasks_that_cost_are_added_when_a_person_has_approved_them_and_not_when_rejected(place):
    tasks = '{"tasks": [{"id": "one", "title": "One", "agent": "idle"}]}'
    rule = AddsTasks(approval="always")
    async with place.open(work("t", f"print({tasks!r})", workspace="shared", adds_tasks=rule)) as project:
        await project.execute_workflow()
        assert metadata(project)["asks"] == "adds 1 task to the project:\n- t.one (idle, script): One"
        project.reject("t", "not that")
        assert set(project.state.tasks) == {"t"}
        await project.execute_workflow()
        project.approve("t")
        assert (await project.execute_workflow()).status == "completed"
    assert known(project, "t.one").result.output.strip() == "done"


# -- conflicts


def both(**fields):
    """Two tasks that change the same line at the same time; the second one to be done meets the first one's change."""
    first = work("first", write("a.txt", "one\nFIRST\nthree\n"))
    code = "import time\nwhile 'FIRST' not in Path('../../../../a.txt').read_text(): time.sleep(0.01)\n"
    return first, work("t", code + write("a.txt", "one\nSECOND\nthree\n"), **fields)


async def test_a_conflict_is_for_a_person_who_sees_it_resolves_it_and_approves(place):
    tasks = both()
    project = await place.run(*tasks)
    assert (known(project).status, known(project).cause) == (TaskStatus.NEEDS_REVIEW, "conflict")
    assert "merge it by hand (`git merge orchestrate/default/t`)" in known(project).last_error
    assert "+SECOND" in metadata(project)["diff"].replace(" ", "")
    assert place.read("a.txt") == "one\nFIRST\nthree\n"

    place.git("merge", "-q", "-s", "ours", "--no-commit", "orchestrate/default/t")
    place.commit("a.txt", "one\nBOTH\nthree\n")
    async with place.open(*tasks) as project:
        project.approve("t")
        assert (await project.execute_workflow()).status == "completed"
    assert place.read("a.txt") == "one\nBOTH\nthree\n"
    assert sorted(place.runs()) == ["first 1", "t 1"]
    assert place.git("branch", "--list", "orchestrate/*") == ""


async def test_a_conflict_can_be_sent_back_to_be_done_again(place):
    tasks = both()
    await place.run(*tasks)
    async with place.open(*tasks) as project:
        project.reset("t")
        await project.execute_workflow()
    assert known(project).status in {TaskStatus.NEEDS_REVIEW, TaskStatus.COMPLETED}
    assert place.runs()[-1] == "t 2"


async def test_a_named_agent_resolves_a_conflict_and_the_checks_look_at_what_it_made(place):
    check = Check(command=(sys.executable, "-c", "assert 'SECOND' in open('a.txt').read()"))
    first, second = both(on_conflict="resolver")
    second = work("t", second.description, check, on_conflict="resolver")
    project = await place.run(first, second)
    assert known(project).status is TaskStatus.COMPLETED
    assert sorted(place.read("a.txt").splitlines()) == ["FIRST", "SECOND", "one", "three"]
    assert sum(fact.is_passed for fact in known(project).verdicts) == 1


async def test_an_agent_that_leaves_the_markers_leaves_the_conflict_to_a_person(place):
    project = await place.run(*both(on_conflict="idle"))
    assert (known(project).status, known(project).cause) == (TaskStatus.NEEDS_REVIEW, "conflict")
    assert "a.txt" in known(project).last_error
    assert place.read("a.txt") == "one\nFIRST\nthree\n"


# -- the end of the process between every two facts


class Dying(MemoryStore):
    def __init__(self, facts=(), lasts=10**9):
        super().__init__()
        self._events.extend(facts)
        self._lasts = lasts

    def append(self, event):
        if len(self._events) >= self._lasts:
            raise StoreError("the process has ended")
        return super().append(event)


async def test_the_work_is_done_once_and_merged_once_wherever_the_process_ends(place):
    task = work("t", "Path('b.txt').write_text('b'); print('done')", Check(files=("b.txt",)), Check(matches="done"))
    claimed, cut = 0, 4
    while True:
        name = f"t{cut}"
        one = AgentTask(name, "Do it", task.description, agent="worker", workspace="worktree", checks=task.checks)
        store = Dying(lasts=cut)
        with suppress(StoreError):
            project = place.open(one, store=store)
            async with project.executor:
                await project.execute_workflow()
        facts = list(store._events)
        has_ended = len(facts) < cut
        has_claim = any(isinstance(fact, ev.TaskVerifying) for fact in facts)
        claimed += has_claim
        project = place.open(one, store=Dying(facts))
        async with project.executor:
            result = await project.execute_workflow()
        assert result.status == "completed", cut
        runs = [line for line in place.runs() if line.startswith(f"{name} ")]
        assert len(runs) == 1 or not has_claim, cut
        assert len(runs) <= 2
        if has_ended:
            break
        place.git("rm", "-q", "b.txt")
        place.git("commit", "-qm", f"End {cut}")
        cut += 1
    assert claimed >= 4
    assert place.git("branch", "--list", "orchestrate/*") == ""
    merges = place.git("log", "--merges", "--format=%s").splitlines()
    assert len(merges) == len(set(merges))
    assert place.git("status", "--porcelain") == ""


async def test_what_was_claimed_when_the_process_ended_is_verified_and_not_worked_for_again(place):
    place.judgement("fails")
    store = MemoryStore()
    task = work("t", write("b.txt"), Check(judge="judge"), max_attempts=1)
    project = place.open(task, store=store)
    async with project.executor:
        await project.execute_workflow()
    facts = list(store._events)
    cut = next(place for place, fact in enumerate(facts) if isinstance(fact, ev.TaskVerifying)) + 1
    assert fold(facts[:cut]).find("t").claim is not None
    again = place.open(task, store=Dying(facts[:cut]))
    async with again.executor:
        assert (await again.execute_workflow()).status == "completed"
    assert (place.runs(), place.read("b.txt")) == (["t 1"], "text")


async def test_a_run_cancelled_while_it_verifies_leaves_nothing_running(place):
    check = Check(command=(sys.executable, "-c", "import time; time.sleep(60)"))
    async with place.open(work("t", write("b.txt"), check)) as project:
        project.subscribe(
            lambda event, _: (
                asyncio.get_running_loop().call_later(0.3, project.cancel)
                if isinstance(event, ev.TaskVerifying)
                else None
            )
        )
        assert (await project.execute_workflow()).status == "cancelled"
    assert known(project).status is TaskStatus.CANCELLED
    assert not (place.root / "b.txt").exists()
