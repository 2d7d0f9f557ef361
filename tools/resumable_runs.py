"""Runs of an experiment, each in a process of its own, kept in a file: what was run before is not repeated. For accuracy_*.py."""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys


def make_parser(document, folder, epochs):
    """A parser with the options that all experiments have; `document` is the docstring of the script."""
    parser = argparse.ArgumentParser(description=document.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(folder))
    parser.add_argument("--data", type=pathlib.Path, help="folder of Fashion-MNIST; default: that of its Debian package")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of TensorFlow, in one op; default: its own")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--table", action="store_true", help="print the table of the runs that are there")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    return parser


def limit_threads(threads):
    """Limits those of TensorFlow, if a number is given."""
    import tensorflow as tf

    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def complete(arguments, stages):
    """The results of all runs of `stages`, lists of dicts that name a run; each stage begins when the one before is complete.

    A run that is not in the file is made by this script, called again with the run as `--one`, which prints a dict. Its result is
    that dict and the run together, a line of `results.jsonl` in the folder of the work.
    """
    arguments.work.mkdir(parents=True, exist_ok=True)
    path = arguments.work / "results.jsonl"
    kept = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    results = []
    for stage in stages:
        missing = []
        for run in stage:
            found = [each for each in kept if run.items() <= each.items()]
            results += found[:1]
            missing += [] if found or arguments.table else [run]
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            for future in concurrent.futures.as_completed([pool.submit(_run_child, run) for run in missing]):
                result = future.result()
                with path.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                results.append(result)
                print(", ".join(f"{name} {value}" for name, value in result.items()), file=sys.stderr, flush=True)
    return results


def _run_child(run):
    command = [sys.executable, *sys.argv, "--one", json.dumps(run)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment)
    if finished.returncode:
        raise SystemExit(f"{run} failed:\n{finished.stderr[-3000:]}")
    return run | json.loads(finished.stdout.splitlines()[-1])
