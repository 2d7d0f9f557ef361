"""A worker of the launcher's tests, without TensorFlow: ACTION [WORKER]. With WORKER, the other workers wait."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time


def work():
    """Does what the command line says."""
    config = json.loads(os.environ["TF_CONFIG"])
    addresses, index = config["cluster"]["worker"], config["task"]["index"]
    folder = pathlib.Path(os.environ["FOLDER"])
    host, port = addresses[index].rsplit(":", 1)
    listener = socket.create_server((host, int(port)))
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stderr=subprocess.DEVNULL)
    start = {"cluster": addresses, "index": index, "pids": [os.getpid(), child.pid], "restart": os.environ["TFOPT_RESTART"]}
    (folder / f"start{start['restart']}-{index}.tmp").write_text(json.dumps(start))
    (folder / f"start{start['restart']}-{index}.tmp").rename(folder / f"start{start['restart']}-{index}.json")
    action, *only = sys.argv[1:] or ["end"]
    if only and index != int(only[0]):
        time.sleep(600)
    if action == "wait":
        time.sleep(600)
    if action == "wait-once" and start["restart"] == "0":
        time.sleep(600)
    if action == "deaf":
        for name in ("SIGINT", "SIGTERM"):
            signal.signal(getattr(signal, name), lambda number, _: print("heard", signal.Signals(number).name, flush=True))
        print("deaf", flush=True)
        time.sleep(600)
    if action == "raise":
        raise ValueError(f"of worker {index}")
    if action == "logged":
        print('Traceback (most recent call last):\n  File "x.py", line 1\nValueError: logged', file=sys.stderr)
    if action == "exit":
        sys.exit(7)
    print(f"done {index}")
    listener.close()


if __name__ == "__main__":
    work()
