"""The old way: one blocking subprocess after the other, nothing kept. This is what you are migrating from."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent / "scripts"


class TaskExecutor:
    """Runs execute_<agent>.py for each task and waits for it."""

    def execute(self, task: dict[str, str], agent: str = "claude") -> str:
        """Run one task to its end; a failure is an exception and takes the rest of the run with it."""
        done = subprocess.run(  # noqa: S603 -- the project's own script
            [sys.executable, SCRIPTS / f"execute_{agent}.py"],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=600,
            check=True,
        )
        return done.stdout.strip()
