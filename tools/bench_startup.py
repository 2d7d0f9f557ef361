"""Times `tfopt --help` and each `tfopt COMMAND --help` against `python -c "import click"`, as whole processes in turn.

python tools/bench_startup.py [--rounds 20]
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import time

COMMANDS = ["", "convert", "check", "benchmark", "inspect", "demo"]


def seconds(command):
    """How long one run takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    tfopt = str(pathlib.Path(sys.executable).parent / "tfopt")
    baseline = [sys.executable, "-c", "import click"]
    print("command                  median   import click   ratio of medians")
    for name in COMMANDS:
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(seconds([tfopt, *name.split(), "--help"]))
            theirs.append(seconds(baseline))
        mine, base = statistics.median(ours), statistics.median(theirs)
        print(f"tfopt {name + ' --help':18} {1000 * mine:5.0f} ms {1000 * base:9.0f} ms {mine / base:14.2f}x")


if __name__ == "__main__":
    main()
