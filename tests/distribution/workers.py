"""Scripts that run as several workers on this machine."""

import json
import os
import socket
import subprocess
import sys


def start_workers(count, *arguments):
    """Runs a script as so many workers; its output, worker by worker."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    running = []
    for index in range(count):
        config = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        command = [sys.executable, *map(str, arguments)]
        environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    try:
        said = [process.communicate(timeout=300)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * count, "\n".join(said)
    return said
