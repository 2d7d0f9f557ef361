"""`Worker`: a process in a process group of its own, with a warden so that it cannot outlive the launcher."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from tfopt.launcher import warden
from tfopt.launcher.events import Events, Exited
from tfopt.launcher.output import Output

_WARDEN = str(pathlib.Path(warden.__file__))


class Worker:
    """Starts a worker.

    Args:
        index: its number in the cluster.
        command: its command line.
        environment: its whole environment.
        cpus: the numbers of the CPUs that it may use; an empty sequence means all CPUs.
        output: takes its lines.
        events: queue that gets `Exited` once the worker has ended and all of its output was read.
    """

    def __init__(
        self,
        index: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        cpus: Sequence[int],
        output: Output,
        events: Events,
    ) -> None:
        self._index = index
        read_control, control = os.pipe()
        self._control: int | None = control
        self._status, write_status = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", _WARDEN, str(read_control), str(write_status), ",".join(map(str, cpus)), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            pass_fds=(read_control, write_status),
            start_new_session=True,  # the launcher forwards Ctrl-C
        )
        os.close(read_control)
        os.close(write_status)
        assert self._process.stdout is not None and self._process.stderr is not None  # they are pipes
        self._pipes = {"stdout": self._process.stdout, "stderr": self._process.stderr}
        self._pumps = [
            threading.Thread(target=output.pump, args=(index, name, pipe.fileno()), daemon=True)
            for name, pipe in self._pipes.items()
        ]
        self._watch = threading.Thread(target=self._tell, args=(events,), daemon=True)
        for thread in (*self._pumps, self._watch):
            thread.start()

    def signal(self, number: int) -> None:
        """Sends a signal to the worker and to the processes that it has started."""
        # Before `close` waits for the warden, this number cannot belong to another group.
        os.killpg(self._process.pid, number)

    def close(self) -> None:
        """Kills the worker and the processes that it has started, if they still run, and waits for their end."""
        if self._control is None:
            return
        self.signal(signal.SIGKILL)
        os.close(self._control)
        self._control = None
        self._process.wait()
        self._watch.join()
        os.close(self._status)
        for pump in self._pumps:
            pump.join(2.0)
        if not any(pump.is_alive() for pump in self._pumps):  # a process that left the group may hold the pipes open
            for pipe in self._pipes.values():
                pipe.close()

    def _tell(self, events: Events) -> None:
        code = b""
        while part := os.read(self._status, 64):
            code += part
        for pump in self._pumps:
            pump.join(0.3)  # the rest of its output; a process that the worker has started may hold the pipe open for longer
        # There is no code if the warden itself was killed.
        events.put(Exited(self._index, int(code) if code else -signal.SIGKILL))
