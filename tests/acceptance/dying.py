"""Run a program that is killed by SIGKILL at its n-th moment that matters: an SQL statement about to be executed, or a
file of the folder about to be opened, copied or renamed.

`python dying.py N FOLDER PROGRAM ARGUMENT...`, where PROGRAM is a module's name or a file. Moments are counted, not
timed, so the same N dies at the same place on any machine.
"""

import itertools
import os
import runpy
import signal
import sqlite3
import sys
import time
from pathlib import Path

_FILE_EVENTS = frozenset({"open", "shutil.copyfile", "os.rename", "os.truncate", "os.remove"})


def main(last: int, folder: str, program: str) -> None:
    moments = itertools.count(1)

    def moment(statement=None):
        if statement == "COMMIT":
            time.sleep(0.005)  # a slow disk: whoever goes on before the commit is found out
        if next(moments) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event, arguments):
        if event in _FILE_EVENTS and str(arguments[0]).startswith(folder):
            moment()

    def connect(*arguments, **options):
        connection = sqlite3_connect(*arguments, **options)
        if str(arguments[0]).startswith(folder):
            connection.set_trace_callback(moment)
        return connection

    sqlite3_connect, sqlite3.connect = sqlite3.connect, connect
    sys.addaudithook(watch)
    sys.path.insert(0, str(Path.cwd()))
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    number, place, name = sys.argv[1:4]
    sys.argv = sys.argv[3:]
    main(int(number), place, name)
