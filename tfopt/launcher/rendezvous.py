"""The place where the workers of a job find each other: addresses, ports and `TF_CONFIG`."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Mapping, Sequence

from tfopt import errors

# Systems give outgoing connections ports above these (Linux from 32768, macOS from 49152), so a free port stays free until the
# worker takes it some seconds later.
_PORTS = range(15000, 32000)


def tf_config(cluster: Sequence[str], index: int) -> str:
    """Makes the value of `TF_CONFIG` for one worker.

    Args:
        cluster: the address HOST:PORT of every worker of the job.
        index: the worker's place in `cluster`, from 0; worker 0 is the chief.

    Returns:
        JSON.
    """
    return json.dumps({"cluster": {"worker": list(cluster)}, "task": {"type": "worker", "index": index}})


def check_no_cluster(environment: Mapping[str, str]) -> None:
    """Raises `LaunchError` if `TF_CONFIG` in an environment is damaged or names a cluster already."""
    value = environment.get("TF_CONFIG", "")
    if not value.strip():
        return
    remedy = "Unset it (env -u TF_CONFIG tfopt launch ...), or start the script without `tfopt launch` if a cluster sets it."
    try:
        config = json.loads(value)
    except ValueError as error:
        raise errors.LaunchError(f"TF_CONFIG must be JSON. Received: {value!r} ({error}). {remedy}") from None
    if not isinstance(config, dict):
        raise errors.LaunchError(f"TF_CONFIG must be a JSON object. Received: {value!r}. {remedy}")
    if config.get("cluster") or config.get("task"):
        raise errors.LaunchError(
            f"TF_CONFIG must not be set, as `tfopt launch` sets it for each worker. Received: {value!r}. {remedy}"
        )


def check_nodes(nodes: int, rank: int, coordinator: str | None) -> None:
    """Raises `LaunchError` if --nodes, --node-rank and --coordinator do not fit together."""
    if nodes < 1:
        raise errors.LaunchError(f"--nodes must be 1 or more. Received: {nodes}. Leave it out for one machine.")
    if not 0 <= rank < nodes:
        raise errors.LaunchError(
            f"--node-rank must be from 0 to --nodes - 1 = {nodes - 1}. Received: {rank}. Number the machines from 0."
        )
    if (nodes > 1) != (coordinator is not None):
        raise errors.LaunchError(
            f"--nodes and --coordinator belong together. Received: --nodes {nodes} and "
            f"{'no --coordinator' if coordinator is None else f'--coordinator {coordinator}'}. Give every node the number of nodes "
            "and the address HOST:PORT of node 0, or leave out both for one machine."
        )
    if coordinator is not None:
        address(coordinator)


def address(text: str) -> tuple[str, int]:
    """Splits "HOST:PORT" into (host, port); an IPv6 host is given in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65000:
        raise errors.LaunchError(
            f"--coordinator must be HOST:PORT with a port from 1 to 64999. Received: {text!r}. "
            "Give the address of node 0, the same on every node."
        )
    return host.strip("[]"), int(port)


def free_ports(count: int) -> list[int]:
    """Finds `count` different ports that nobody uses now."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise errors.LaunchError(
        f"{count} free ports between {_PORTS.start} and {_PORTS.stop - 1} are required. Received: {len(found)} free ports. "
        "End the programs that use the others: `ss -ltnp` lists them."
    )


def is_free(port: int) -> bool:
    """Returns whether a worker can listen on a port of this machine."""
    with contextlib.closing(socket.socket(socket.AF_INET)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as in gRPC: lingering connections do not count
        try:
            listener.bind(("", port))
        except OSError:
            return False
    return True
