"""A process for each worker, in a process group of its own, with a warden so that it cannot outlive the launcher."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

from tfopt.launcher import warden

_WARDEN = str(pathlib.Path(warden.__file__))


class Worker:
    """A worker that runs from here on.

    Args:
        index: int, its number in the cluster.
        command: list of str.
        environment: dict, the whole environment.
        cpus: tuple of int, the CPUs that it may use; empty: all.
        output: `Output` that takes its lines.
        events: `queue.SimpleQueue` that gets ("exit", index, code) once it has ended and all that it printed was read; the code is
            negative for a signal, as in `subprocess`.
    """

    def __init__(self, index, command, environment, *, cpus, output, events):
        self.index = index
        read_control, self._control = os.pipe()
        self._status, write_status = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", _WARDEN, str(read_control), str(write_status), ",".join(map(str, cpus)), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            pass_fds=(read_control, write_status),
            start_new_session=True,  # Ctrl-C is the launcher's to forward
        )
        os.close(read_control)
        os.close(write_status)
        pipes = {"stdout": self._process.stdout, "stderr": self._process.stderr}
        self._pumps = [
            threading.Thread(target=output.pump, args=(index, name, pipe.fileno()), daemon=True) for name, pipe in pipes.items()
        ]
        self._watch = threading.Thread(target=self._tell, args=(events,), daemon=True)
        for thread in (*self._pumps, self._watch):
            thread.start()

    def signal(self, number):
        """Sends a signal to the worker and to what it has started."""
        # As long as the warden was not waited for, which `close` does, this number cannot belong to another group.
        os.killpg(self._process.pid, number)

    def close(self):
        """Kills what is left of the worker and of what it has started, and waits for the end."""
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
        if not any(pump.is_alive() for pump in self._pumps):  # a process that left the group may hold its pipes open
            self._process.stdout.close()
            self._process.stderr.close()

    def _tell(self, events):
        code = b""
        while part := os.read(self._status, 64):
            code += part
        for pump in self._pumps:
            pump.join(0.3)  # the rest of what it printed; what the worker has started may hold the pipe longer
        # Nothing to read: the warden itself was killed.
        events.put(("exit", self.index, int(code) if code else -signal.SIGKILL))
