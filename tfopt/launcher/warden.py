"""The parent of one worker, which kills it and all that it started as soon as the launcher is gone, even by SIGKILL.

Runs as a program of its own: `python -I -S warden.py CONTROL STATUS CPUS COMMAND...`. The pipe CONTROL is held open by the launcher
and by nobody else: its end of file tells that the launcher wants an end or has died, on every POSIX system and without polling. The
worker's exit code goes to the pipe STATUS. Warden and worker are one process group, of which the warden stays the leader until it
is told to go: so the group's number means this worker for as long as anyone may send it a signal.
"""

import os
import signal
import subprocess
import sys
import threading


def _end_with(control):
    while os.read(control, 1):
        pass
    os.killpg(0, signal.SIGKILL)  # with this process


def main():
    """Runs the command of `sys.argv` until it ends or the launcher does."""
    control, status = int(sys.argv[1]), int(sys.argv[2])
    cpus, command = sys.argv[3], sys.argv[4:]
    threading.Thread(target=_end_with, args=(control,), daemon=True).start()
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
        # Such signals are for the worker. A handler, as an ignored signal would stay ignored in the worker.
        signal.signal(getattr(signal, name), lambda *_: None)
    if cpus:
        os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    worker = subprocess.Popen(command)
    nothing = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # so that the end of the worker is the end of its output
        os.dup2(nothing, output)
    code = worker.wait()
    os.write(status, str(code).encode())
    os.close(status)
    while True:  # until the end of file above
        signal.pause()


if __name__ == "__main__":
    main()
