"""What `tfopt.strategy` chooses, logs and refuses; strategies that need a process of their own run in `replicas.py`."""

import json
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.distribution import cluster

TWO = {"worker": ["host1:1", "host2:1"]}


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "KUBERNETES_SERVICE_HOST", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def said(caplog):
    """What the logger "tfopt" got."""
    caplog.set_level(logging.INFO, "tfopt")
    return caplog


def test_one_device_where_there_is_nothing_else(said):
    strategy = tfopt.strategy()
    assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
    assert [record.message for record in said.records] == [
        "OneDeviceStrategy, 1 replica: no TPU; neither TF_CONFIG nor Slurm nor Kubernetes names workers; no GPU"
    ]
    with strategy.scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", steps_per_execution=2)
    model.fit(np.zeros((10, 3)), np.zeros((10, 1)), batch_size=2, verbose=0)
    assert model.predict(np.zeros((3, 3)), verbose=0).shape == (3, 1)


def test_several_gpus_are_mirrored(said, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["one", "two"] if kind == "GPU" else [])
    assert isinstance(tfopt.strategy(), tf.distribute.MirroredStrategy)
    assert said.records[0].message.endswith("2 GPUs")


def test_a_tpu_that_answers_is_taken(said, monkeypatch):
    asked = []
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", lambda *tpu: asked.append(tpu) or "resolver")
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", asked.append)
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", asked.append)
    monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda resolver: tf.distribute.OneDeviceStrategy("CPU:0"))
    tfopt.strategy()
    assert asked == [(), "resolver", "resolver"] and said.records[0].message.endswith("a TPU answers")


def test_a_tpu_that_does_not_answer_is_passed_over_unless_named(said, monkeypatch):
    """TensorFlow's own resolver and its own error, as far as a machine without TPU goes."""
    with pytest.raises(tfopt.ArgumentError, match="needs a TPU. Received: no TPU; TensorFlow says: Please provide a TPU Name"):
        tfopt.strategy("tpu")
    real = tf.distribute.cluster_resolver.TPUClusterResolver
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", lambda *tpu: real("local"))
    with pytest.raises(tfopt.ArgumentError, match="a TPU that answers. Received: TPUs not found in the cluster"):
        tfopt.strategy("tpu")
    assert isinstance(tfopt.strategy(), tf.distribute.OneDeviceStrategy)
    assert "no TPU answers: TPUs not found" in said.records[-1].message


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "text that is not JSON"),
        ("[]", "JSON that is not an object"),
        ({"cluster": TWO}, "a task of type None"),
        ({"cluster": TWO, "task": {"type": "chief", "index": 0}}, "a task of type 'chief'; the cluster has worker"),
        ({"cluster": TWO, "task": {"type": "worker", "index": 2}}, "a task of index 2; the number of processes in 'worker' is 2"),
        ({"cluster": TWO, "task": {"type": "worker", "index": "0"}}, "a task of index '0'"),
        (
            {"cluster": {"worker": ["host1"]}, "task": {"type": "worker", "index": 0}},
            "a job 'worker' that is not a list of 'host:port'",
        ),
        ({"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}, "the same host:port twice"),
        ({"cluster": {**TWO, "ps": ["c:1"]}, "task": {"type": "worker", "index": 0}}, "parameter servers are not supported"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("kind", ["auto", "multi_worker"])
def test_a_wrong_tf_config_is_told(kind, config, message, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(tfopt.ArgumentError, match="TF_CONFIG must be like") as caught:
        tfopt.strategy(kind)
    assert message in str(caught.value)


def test_places_in_a_cluster():
    both = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    places = [("chief", 0), ("worker", 0), ("worker", 1)]
    configs = [json.dumps({"cluster": both, "task": {"type": kind, "index": index}}) for kind, index in places]
    assert [cluster.read_tf_config(config) for config in configs] == [(3, 0), (3, 1), (3, 2)]
    assert cluster.read_tf_config("{}") == (1, 0)


def test_slurm_and_kubernetes(monkeypatch):
    slurm = {
        "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_STEP_NODELIST": "node[1-2]", "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
        "SLURM_NTASKS": "2", "SLURM_LOCALID": "0",
    }  # fmt: skip
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    workers, _ = cluster.find_workers()
    assert (workers.count, workers.index, workers.source) == (2, 1, "Slurm")
    assert workers.resolver.cluster_spec().as_dict()["worker"] == ["node1:8888", "node2:8888"]
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert "the package `kubernetes` is missing" in cluster.find_workers()[1]

    class Pods:
        def cluster_spec(self):
            return tf.train.ClusterSpec({"worker": ["10.0.0.7:8470", "10.0.0.8:8470"]})

    monkeypatch.setattr(tf.distribute.cluster_resolver, "KubernetesClusterResolver", Pods)
    with pytest.raises(tfopt.ArgumentError, match="this pod must be one of the pods"):
        cluster.find_workers()
    monkeypatch.setenv("POD_IP", "10.0.0.8")
    workers, _ = cluster.find_workers()
    assert (workers.count, workers.index, workers.resolver.task_type, workers.resolver.task_id) == (2, 1, "worker", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "two"}, "`kind` must be one of auto, tpu"),
        ({"kind": "multi_worker"}, "needs several workers. Received: neither TF_CONFIG"),
        ({"sharding": "rows"}, "`sharding` must be"),
        ({"logical_devices": 0}, "at least 1. Received: logical_devices=0"),
        ({"logical_devices": 2, "kind": "tpu"}, "splits the CPU of one process"),
        ({"logical_devices": 3}, "before TensorFlow computes anything. Received: logical_devices=3 with 1"),
    ],
    ids=str,
)
def test_what_is_refused(arguments, message):
    tf.constant(0)
    with pytest.raises(tfopt.ArgumentError, match=message):
        tfopt.strategy(**arguments)


def test_a_multi_worker_strategy_comes_first(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": TWO, "task": {"type": "worker", "index": 0}}))
    tf.constant(0)
    with pytest.raises(tfopt.ArgumentError, match="before TensorFlow computes anything. Received: a program that has already made"):
        tfopt.strategy()


def test_logging_is_left_alone():
    def state():
        loggers = logging.getLogger(), logging.getLogger("tfopt")
        settings = [(each.level, each.propagate, each.disabled, [*each.handlers], [*each.filters]) for each in loggers]
        return settings, logging.root.manager.disable, logging.lastResort, logging.raiseExceptions

    before = state()
    tfopt.strategy()
    assert state() == before
    assert before[0][1] == (logging.NOTSET, True, False, [], [])


def test_a_program_decides_what_it_sees_of_the_choice(said):
    said.set_level(logging.WARNING, "tfopt")
    tfopt.strategy()
    assert not said.records
    said.set_level(logging.INFO, "tfopt")
    tfopt.strategy()
    assert [(record.name, record.levelname) for record in said.records] == [("tfopt", "INFO")]


def test_several_workers_say_their_choice_where_they_may(run_replicas):
    output = run_replicas("multi_worker").output
    for index in range(2):
        choice = f"MultiWorkerMirroredStrategy, 2 replicas: TF_CONFIG names 2 workers, this is number {index}"
        assert output.count(f"[worker {index}] INFO:tfopt:{choice}\n") == 1
    assert output.count("INFO:tfopt:workers had different random seeds") == 2
    assert "2 replicas:" not in run_replicas("mirrored").output  # this one has not configured logging


def test_sharding_is_for_pipelines_that_do_not_say_it(monkeypatch):
    policies = tf.data.experimental.AutoShardPolicy
    seen = []
    monkeypatch.setattr(
        tf.distribute.OneDeviceStrategy, "experimental_distribute_dataset", lambda self, dataset, *args: seen.append(dataset)
    )
    strategy = tfopt.strategy("one_device", sharding="off")
    dataset, options = tf.data.Dataset.range(4), tf.data.Options()
    options.experimental_distribute.auto_shard_policy = policies.DATA
    strategy.experimental_distribute_dataset(dataset)
    strategy.experimental_distribute_dataset(dataset.with_options(options))
    assert [each.options().experimental_distribute.auto_shard_policy for each in seen] == [policies.OFF, policies.DATA]
