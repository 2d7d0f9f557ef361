"""Where the workers of a job find each other: addresses, ports and `TF_CONFIG`."""

import contextlib
import json
import random
import socket

from tfopt import errors

# Below what systems give to outgoing connections (Linux from 32768, macOS from 49152): such a port stays free until the worker
# takes it, some seconds later.
_PORTS = range(15000, 32000)


def tf_config(cluster, index):
    """The value of `TF_CONFIG` for one worker.

    Args:
        cluster: list of str, the address HOST:PORT of every worker of the job.
        index: int, the worker's place in it; worker 0 is the chief.

    Returns:
        str, JSON.
    """
    return json.dumps({"cluster": {"worker": list(cluster)}, "task": {"type": "worker", "index": index}})


def refuse_cluster(environment):
    """Raises `LaunchError` if `TF_CONFIG` in `environment`, a dict, is damaged or names a cluster already."""
    value = environment.get("TF_CONFIG", "")
    if not value.strip():
        return
    remedy = "Unset it (env -u TF_CONFIG tfopt launch ...), or start the script without `tfopt launch` where a cluster sets it."
    try:
        config = json.loads(value)
    except ValueError as error:
        raise errors.LaunchError(f"TF_CONFIG must be JSON. Received: {value!r} ({error}). {remedy}") from None
    if not isinstance(config, dict):
        raise errors.LaunchError(f"TF_CONFIG must be a JSON object. Received: {value!r}. {remedy}")
    if config.get("cluster") or config.get("task"):
        raise errors.LaunchError(
            "TF_CONFIG must not be set, as `tfopt launch` makes the cluster and sets it for each worker. "
            f"Received: {value!r}. {remedy}"
        )


def refuse_nodes(nodes, rank, coordinator):
    """Raises `LaunchError` if the numbers of the machines, as the command line gives them, do not make sense together."""
    if nodes < 1:
        raise errors.LaunchError(f"--nodes must be 1 or more. Received: {nodes}.")
    if not 0 <= rank < nodes:
        raise errors.LaunchError(f"--node-rank must be from 0 to --nodes - 1 = {nodes - 1}. Received: {rank}.")
    if (nodes > 1) != (coordinator is not None):
        raise errors.LaunchError(
            f"--nodes and --coordinator belong together. Received: --nodes {nodes}, --coordinator {coordinator}. Give every node "
            "the number of nodes and the address HOST:PORT of node 0, or leave out both for one machine."
        )
    if coordinator is not None:
        address(coordinator)


def address(text):
    """(host, port) of "HOST:PORT"; an IPv6 host stands in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65000:
        raise errors.LaunchError(
            f"--coordinator must be HOST:PORT with a port from 1 to 64999. Received: {text!r}. "
            "Give the address of node 0, the same on every node."
        )
    return host.strip("[]"), int(port)


def free_ports(count):
    """`count` different ports that nobody uses now, as a list of int."""
    found = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise errors.LaunchError(
        f"{count} free ports between {_PORTS.start} and {_PORTS.stop - 1} are required. Received: {len(found)}. "
        "End what uses them: `ss -ltnp` lists it."
    )


def is_free(port):
    """Whether a worker can listen on a port of this machine."""
    with contextlib.closing(socket.socket(socket.AF_INET)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does: connections that linger do not count
        try:
            listener.bind(("", port))
        except OSError:
            return False
    return True
