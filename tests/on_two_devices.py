"""Scripts that train under a strategy with two devices, in one program, as TensorFlow takes seconds to start.

Each `mirrored.py` beside the tests of a room is such a script; it fails or prints nothing. `require_held` is called by the tests.
"""

import fcntl
import json
import os
import pathlib
import runpy
import subprocess
import sys
import traceback

ROOMS = ("distillation", "quantization")
TESTS = pathlib.Path(__file__).parent


def require_held(room, tmp_path_factory):
    """Fails with the error of the script of `room`, if there was one. All scripts run once for all processes of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    found = base / "two_devices.json"
    with open(base / "two_devices.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            finished = subprocess.run([sys.executable, __file__, found], capture_output=True, text=True, check=False)
            assert finished.returncode == 0, finished.stderr[-3000:]
    error = json.loads(found.read_text())[room]
    assert not error, error


def main(path):
    """Runs all scripts and writes a file of room -> traceback, empty for a script that held."""
    sys.path.insert(0, str(TESTS))
    sys.modules |= dict.fromkeys(("matplotlib", "sklearn"))  # None: Keras imports them where they are, which takes long
    errors = {}
    for room in ROOMS:
        try:
            runpy.run_path(str(TESTS / room / "mirrored.py"))
            errors[room] = ""
        except BaseException:
            errors[room] = traceback.format_exc()
    pathlib.Path(path).write_text(json.dumps(errors))


if __name__ == "__main__":
    main(sys.argv[1])
