"""The workers that train together, as TF_CONFIG, Slurm or Kubernetes name them to TensorFlow's own cluster resolvers."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from typing import TYPE_CHECKING, Any, NoReturn

from tfopt.errors import ArgumentError

if TYPE_CHECKING:
    import tensorflow as tf

_EXAMPLE = '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'


@dataclasses.dataclass(frozen=True)
class Workers:
    """The processes that train one model together.

    Attributes:
        resolver: TensorFlow's view of the cluster.
        count: 2 or more.
        index: the number of this process, from 0 to `count - 1`; 0 is the chief.
        source: where the workers were found: "TF_CONFIG", "Slurm" or "Kubernetes".
    """

    resolver: tf.distribute.cluster_resolver.ClusterResolver
    count: int
    index: int
    source: str


def find_workers() -> tuple[Workers | None, str]:
    """Finds the workers that the environment names.

    Returns:
        The workers and the source that named them; or None and the reason why there are none.

    Raises:
        ArgumentError: `TF_CONFIG` is invalid, or Kubernetes names workers and this process is not one of them.
    """
    import tensorflow as tf

    resolvers = tf.distribute.cluster_resolver
    if os.environ.get("TF_CONFIG", "").strip():
        count, index = read_tf_config(os.environ["TF_CONFIG"])
        if count < 2:
            return None, "TF_CONFIG names one worker"
        return Workers(resolvers.TFConfigClusterResolver(), count, index, "TF_CONFIG"), "TF_CONFIG"
    if int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        resolver = resolvers.SlurmClusterResolver()
        count = _count(resolver)
        return Workers(resolver, count, int(os.environ["SLURM_PROCID"]), "Slurm"), "Slurm"
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _find_pods(resolvers)
    return None, "neither TF_CONFIG nor Slurm nor Kubernetes names workers"


def read_tf_config(text: str) -> tuple[int, int]:
    """Reads the number of workers and the index of this process from a `TF_CONFIG`.

    Args:
        text: JSON.

    Returns:
        (number of workers, 1 or more; index of this process, from 0).

    Raises:
        ArgumentError: `text` is no valid `TF_CONFIG`, does not name this process, or names a kind of process that is not supported.
    """

    def refuse(received: str) -> NoReturn:
        raise ArgumentError(
            f"TF_CONFIG must be like {_EXAMPLE}. Received: {received}, in TF_CONFIG={text!r}. Correct it, or unset it to train "
            "with one process."
        )

    try:
        config: Any = json.loads(text)
    except json.JSONDecodeError as error:
        refuse(f"text that is not JSON ({error})")
    if not isinstance(config, dict):
        refuse("JSON that is not an object")
    cluster, task = config.get("cluster") or {}, config.get("task") or {}
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        refuse("a 'cluster' or 'task' that is not a JSON object")
    if not cluster:
        return 1, 0
    for job, hosts in cluster.items():
        if job not in ("chief", "master", "worker", "evaluator"):
            refuse(f"a job {job!r}; only chief and worker train together, and parameter servers are not supported")
        if not isinstance(hosts, list) or not all(isinstance(host, str) and host.rpartition(":")[2].isdigit() for host in hosts):
            refuse(f"a job {job!r} that is not a list of 'host:port'")
    every = [host for hosts in cluster.values() for host in hosts]
    if len(set(every)) < len(every):
        refuse("the same host:port twice")
    kind, index = task.get("type"), task.get("index")
    if kind not in cluster:
        refuse(f"a task of type {kind!r}; the cluster has {', '.join(cluster)}")
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(cluster[kind]):
        refuse(f"a task of index {index!r}; the number of processes in {kind!r} is {len(cluster[kind])}")
    if kind == "evaluator":
        return 1, 0
    heads = len(cluster.get("chief", [])) + len(cluster.get("master", []))
    return heads + len(cluster.get("worker", [])), index + (heads if kind == "worker" else 0)


def _find_pods(resolvers: Any) -> tuple[Workers | None, str]:
    try:
        resolver = resolvers.KubernetesClusterResolver()
        count = _count(resolver)
    except ImportError:
        return None, "TF_CONFIG is not set, and in Kubernetes the package `kubernetes` is missing"
    except (RuntimeError, OSError) as error:  # there are no pods, or they do not run yet
        return None, f"Kubernetes names no running pods with the label job-name=tensorflow ({error})"
    if count < 2:
        return None, "Kubernetes names one pod with the label job-name=tensorflow"
    addresses = resolver.cluster_spec().as_dict()["worker"]
    own = {os.environ.get("POD_IP"), *socket.gethostbyname_ex(socket.gethostname())[2]}
    found = [index for index, address in enumerate(addresses) if address.rpartition(":")[0] in own]
    if not found:
        raise ArgumentError(
            "this pod must be one of the pods with the label job-name=tensorflow. Received: pods at "
            f"{', '.join(addresses)}, this pod at {', '.join(sorted(address for address in own if address))}. Set POD_IP to "
            "status.podIP, or use a TFJob, which sets TF_CONFIG."
        )
    resolver.task_type, resolver.task_id = "worker", found[0]
    return Workers(resolver, count, found[0], "Kubernetes"), "Kubernetes"


def _count(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> int:
    return sum(len(hosts) for hosts in resolver.cluster_spec().as_dict().values())
