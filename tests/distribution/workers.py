"""Scripts that run as several workers on this machine."""

import subprocess
import sys


def launch(count, script, *arguments):
    """What a script says, as so many workers of `tfopt launch`, which must end well."""
    command = [sys.executable, "-m", "tfopt", "launch", "-n", str(count), str(script), *map(str, arguments)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800)
    assert finished.returncode == 0, finished.stdout
    return finished.stdout
