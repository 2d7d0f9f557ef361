"""Which workers train together: TF_CONFIG, Slurm or Kubernetes, read with TensorFlow's own cluster resolvers."""

import dataclasses
import json
import os
import socket

from tfopt.errors import ArgumentError

_EXAMPLE = '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'


@dataclasses.dataclass(frozen=True)
class Workers:
    """Processes that train one model.

    Attributes:
        resolver: a `tf.distribute.cluster_resolver.ClusterResolver`.
        count: int >= 2.
        index: int, this process's place among them; 0 is the chief.
        source: str, what told about them.
    """

    resolver: object
    count: int
    index: int
    source: str


def find_workers():
    """The `Workers` that the environment tells of, or None and why there are none.

    Returns:
        (`Workers` or None, str).

    Raises:
        ArgumentError: `TF_CONFIG` is wrong, or Kubernetes tells of workers among which this process is not.
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


def read_tf_config(text):
    """(number of workers, index of this one) of a `TF_CONFIG`.

    Args:
        text: str, JSON.

    Raises:
        ArgumentError: it names no place for this process, or a kind of process that is not served.
    """

    def refuse(what):
        raise ArgumentError(f"TF_CONFIG must be like {_EXAMPLE}. Received: {what}, in TF_CONFIG={text!r}.")

    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        refuse(f"no JSON ({error})")
    if not isinstance(config, dict):
        refuse("no JSON object")
    cluster, task = config.get("cluster") or {}, config.get("task") or {}
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        refuse("'cluster' or 'task' that is no JSON object")
    if not cluster:
        return 1, 0
    for job, hosts in cluster.items():
        if job not in ("chief", "master", "worker", "evaluator"):
            refuse(f"a job {job!r}: only chief and worker train together, parameter servers are not served")
        if not isinstance(hosts, list) or not all(isinstance(host, str) and host.rpartition(":")[2].isdigit() for host in hosts):
            refuse(f"a job {job!r} that is no list of 'host:port'")
    every = [host for hosts in cluster.values() for host in hosts]
    if len(set(every)) < len(every):
        refuse("the same host:port twice")
    kind, index = task.get("type"), task.get("index")
    if kind not in cluster:
        refuse(f"a task of type {kind!r}, which is none of {', '.join(cluster)}")
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(cluster[kind]):
        refuse(f"a task of index {index!r}, where {kind!r} has {len(cluster[kind])}")
    if kind == "evaluator":
        return 1, 0
    heads = len(cluster.get("chief", [])) + len(cluster.get("master", []))
    return heads + len(cluster.get("worker", [])), index + (heads if kind == "worker" else 0)


def _find_pods(resolvers):
    try:
        resolver = resolvers.KubernetesClusterResolver()
        count = _count(resolver)
    except ImportError:
        return None, "in Kubernetes, but without the package `kubernetes`, and without TF_CONFIG"
    except (RuntimeError, OSError) as error:  # no pods, or pods that do not run yet
        return None, f"Kubernetes names no running pods with the label job-name=tensorflow ({error})"
    if count < 2:
        return None, "Kubernetes names one pod with the label job-name=tensorflow"
    addresses = resolver.cluster_spec().as_dict()["worker"]
    own = {os.environ.get("POD_IP"), *socket.gethostbyname_ex(socket.gethostname())[2]}
    found = [index for index, address in enumerate(addresses) if address.rpartition(":")[0] in own]
    if not found:
        raise ArgumentError(
            f"this pod must be among those with the label job-name=tensorflow. Received: {', '.join(addresses)}, and here "
            f"{', '.join(sorted(filter(None, own)))}. Set POD_IP to status.podIP, or use a TFJob, which sets TF_CONFIG."
        )
    resolver.task_type, resolver.task_id = "worker", found[0]
    return Workers(resolver, count, found[0], "Kubernetes"), "Kubernetes"


def _count(resolver):
    return sum(len(hosts) for hosts in resolver.cluster_spec().as_dict().values())
