"""Everything that two replicas do for the tests, in one program, so that TensorFlow starts once: KIND FOLDER PART ...

With KIND "multi_worker" two workers run it, with "mirrored" one process that has two devices. Each part writes its findings into a
folder of its own; `conftest.py` runs the program.
"""

import importlib
import json
import logging
import os
import pathlib
import random
import sys

import numpy as np

import tfopt

KIND, FOLDER, *PARTS = sys.argv[1], pathlib.Path(sys.argv[2]), *sys.argv[3:]
if KIND == "multi_worker":
    logging.basicConfig(level=logging.INFO)  # as a program does that wants to see the choice of the strategy
    random.seed(os.environ["TF_CONFIG"])  # which differs, so that the workers must agree on a seed
strategy = tfopt.strategy(KIND, logical_devices=2 if KIND == "mirrored" else None)

import tensorflow as tf  # noqa: E402 - after the strategy

WORKER = strategy.cluster_resolver.task_id if KIND == "multi_worker" else 0
numbers = [random.random(), np.random.random(), float(tf.random.uniform(()))]
(FOLDER / f"numbers.{WORKER}.json").write_text(json.dumps(numbers))

for part in PARTS:
    importlib.import_module(part).run(strategy, WORKER, FOLDER / part)
