"""Running launchers for tests: their end, their workers, and the processes that are left.

Tests run on busy machines. Seconds appear here only as limits after which a test that hangs is ended; what a test shows never rests
on how long something takes. To show that a launcher does not wait for its grace, the grace is set to an hour.
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

SCRIPT = pathlib.Path(__file__).with_name("workers_script.py")
PATIENCE = 300  # less than the workers of the script sleep
HOUR = 3600
_WITH_GRACE = """
from tfopt.cli.main import main
from tfopt.launcher import attempt

attempt.GRACE = dict.fromkeys(attempt.GRACE, {grace})
main()
"""


class Launched:
    """A running `tfopt launch` and what its workers wrote into a folder; `grace` replaces the seconds before a kill."""

    def __init__(self, folder, options, grace, environment):
        self.folder = folder
        program = ["-m", "tfopt"] if grace is None else ["-c", _WITH_GRACE.format(grace=grace)]
        command = [sys.executable, *program, "launch", *map(str, options)]
        environment = {"FOLDER": str(folder), **os.environ, **environment}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder
        )

    def starts(self, workers, restart=0):
        """What each worker told at its start; waits for all."""
        files = [self.folder / f"start{restart}-{index}.json" for index in range(workers)]
        wait(lambda: all(file.exists() for file in files), "start of the workers")
        return [json.loads(file.read_text()) for file in files]

    def read_lines(self, count, text):
        """Reads so many lines of the workers' standard output, which must contain `text`."""
        for _ in range(count):
            line = self.process.stdout.readline()
            assert text in line, line

    def end(self):
        """(exit code, standard output, standard error), after its own end."""
        stdout, stderr = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, stdout, stderr

    def assert_nothing_is_left(self):
        """No process of any worker runs, and every port is free."""
        starts = [json.loads(file.read_text()) for file in self.folder.glob("start*.json")]
        assert starts
        wait(lambda: not any(runs(pid) for start in starts for pid in start["pids"]), "end of every process")
        for address in {address for start in starts for address in start["cluster"]}:
            host, port = address.rsplit(":", 1)
            socket.create_server((host, int(port))).close()


def wait(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"no {what} within {PATIENCE} s"
        time.sleep(0.02)


def runs(pid):
    """Whether a process runs; a dead one that nobody waits for yet does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


@contextlib.contextmanager
def start_launchers(folder):
    """Yields a function that starts `tfopt launch OPTIONS` in a folder, with further environment; kills all at the end."""
    with contextlib.ExitStack() as stack:

        def start(*options, grace=None, **environment):
            launched = Launched(folder, options, grace, environment)
            stack.callback(launched.process.wait)
            stack.callback(launched.process.kill)
            return launched

        yield start
