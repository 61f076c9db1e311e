"""Send a message. The outbox stands for a mail server: what was sent cannot be taken back."""

import json
import os
import sys
import time
from pathlib import Path

task = json.load(sys.stdin)


def note(what: str) -> None:
    """Write a line that survives whatever comes next."""
    with Path("outbox.log").open("a", encoding="utf-8") as outbox:
        outbox.write(f"{what} {task['task_id']} {task['idempotency_key']}\n")
        outbox.flush()
        os.fsync(outbox.fileno())


note("sending")
time.sleep(0.3)  # the network
note("sent")
time.sleep(0.3)
print(f"sent: {task['prompt']}")
