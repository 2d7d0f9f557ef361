"""The parent process of one worker. It kills the worker and its children as soon as the launcher is gone, even by SIGKILL.

It runs as a program of its own: `python -I -S warden.py CONTROL STATUS CPUS COMMAND...`. Only the launcher holds the pipe CONTROL
open: its end of file means that the launcher wants an end or has died, on every POSIX system and without polling. The worker's exit
code goes to the pipe STATUS. Warden and worker form one process group. The warden remains its leader until it is told to go, so the
number of the group means this worker for as long as anyone may send it a signal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def _end_with(control: int) -> None:
    while os.read(control, 1):
        pass
    os.killpg(0, signal.SIGKILL)  # this process included


def main() -> None:
    """Runs the command of `sys.argv` until it ends or the launcher does."""
    control, status = int(sys.argv[1]), int(sys.argv[2])
    cpus, command = sys.argv[3], sys.argv[4:]
    threading.Thread(target=_end_with, args=(control,), daemon=True).start()
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
        # These signals are meant for the worker. They are handled and not ignored, as the worker would inherit ignored signals.
        signal.signal(getattr(signal, name), lambda *_: None)
    if cpus:
        os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    worker = subprocess.Popen(command)
    nothing = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # so that the worker's output ends with the worker
        os.dup2(nothing, output)
    code = worker.wait()
    os.write(status, str(code).encode())
    os.close(status)
    while True:  # until CONTROL ends
        signal.pause()


if __name__ == "__main__":
    main()
