"""`tfopt launch`."""

from __future__ import annotations

import sys
from typing import Any

import click


@click.command(context_settings={"allow_interspersed_args": False})  # options after the script name belong to the script
@click.option("-n", "--workers", type=int, default=1, show_default=True, help="Workers to start on this machine.")
@click.option("--threads-per-worker", type=int, metavar="N", help="Threads of each worker; CPUs are assigned accordingly.")
@click.option("--max-restarts", type=int, default=0, show_default=True, help="How often all workers are restarted after a failure.")
@click.option("--nodes", type=int, default=1, show_default=True, help="Machines that run this command, with -n workers each.")
@click.option("--node-rank", type=int, default=0, show_default=True, help="Number of this machine, counted from 0.")
@click.option(
    "--coordinator", metavar="HOST:PORT", help="Address of node 0 for the other nodes; workers use the ports after this one."
)
@click.option("-m", "--module", is_flag=True, help="SCRIPT is the name of a module.")
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def launch(**job: Any) -> None:
    """Run a training script as several workers, each with its TF_CONFIG. If a worker fails, the others are stopped.

    Arguments after the script name are passed to the script.

    \b
    tfopt launch -n 2 --threads-per-worker 1 train.py --epochs 3
    tfopt launch --nodes 2 --node-rank 0 --coordinator host0:2222 train.py     (and --node-rank 1 on the other machine)
    """
    from tfopt.launcher.job import Job
    from tfopt.launcher.launch import run

    sys.exit(run(Job(**job)))
