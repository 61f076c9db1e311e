"""Summarise three notes, then the summaries, in an order someone worked out by hand."""

from pathlib import Path

from executor import TaskExecutor

NOTES = Path(__file__).parent.parent / "notes"


def main() -> None:
    """Run four tasks, one after the other."""
    executor = TaskExecutor()
    summaries = [
        executor.execute({"task_id": path.stem, "title": f"Summarise {path.stem}", "prompt": path.read_text("utf-8")})
        for path in sorted(NOTES.glob("*.txt"))
    ]
    print(executor.execute({"task_id": "digest", "title": "Summarise all", "prompt": " ".join(summaries)}))


main()
