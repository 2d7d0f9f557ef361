"""`tfopt launch --nodes 2`: two launchers on this machine that stand for two machines."""

import os
import signal
import socket

import pytest
from launched import SCRIPT, start_launchers, wait

from tfopt.launcher import rendezvous


@pytest.fixture
def port():
    """A coordinator's port with free ports after it."""
    while True:
        first = rendezvous.free_ports(1)[0]
        if all(rendezvous.is_free(first + offset) for offset in range(8)):
            return first


@pytest.fixture
def launch(tmp_path, port):
    """Starts the launcher of one node of a job."""
    with start_launchers(tmp_path) as start:
        yield lambda rank, *options, nodes=2: start(
            "--nodes", nodes, "--node-rank", rank, "--coordinator", f"127.0.0.1:{port}", *options
        )


def test_all_nodes_get_one_cluster(launch, port):
    second = launch(1, "-n", 1, SCRIPT)  # comes first, and waits
    assert "waiting for 2 nodes" in second.process.stderr.readline()
    first = launch(0, "-n", 2, SCRIPT)
    assert (first.end()[0], second.end()[0]) == (0, 0)
    starts = first.starts(3)
    assert all(start["cluster"] == [f"127.0.0.1:{port + 1 + index}" for index in range(3)] for start in starts)
    first.assert_nothing_is_left()


def test_a_killed_worker_ends_all_nodes_with_its_code(launch):
    first, second = launch(0, SCRIPT, "wait"), launch(1, SCRIPT, "wait")
    os.kill(first.starts(2)[1]["pids"][0], signal.SIGKILL)
    for code, _, stderr in (first.end(), second.end()):
        assert code == 137 and "Worker 1 of 2 was killed by signal 9 (SIGKILL)" in stderr and "(node 1)" in stderr
    first.assert_nothing_is_left()


def test_a_traceback_is_shown_on_its_node_only(launch):
    first, second = launch(0, SCRIPT, "raise", 1), launch(1, SCRIPT, "raise", 1)
    (code, _, stderr), (other_code, _, other_stderr) = first.end(), second.end()
    assert code == other_code == 1
    assert "Traceback" not in stderr and other_stderr.count("Traceback (most recent call last)") == 1


def test_all_nodes_start_again_on_the_next_ports(launch, port):
    first, second = launch(0, "--max-restarts", 1, SCRIPT, "wait-once"), launch(1, SCRIPT, "wait-once")
    os.kill(first.starts(2)[0]["pids"][0], signal.SIGKILL)
    assert (first.end()[0], second.end()[0]) == (0, 0)
    assert first.starts(2, restart=1)[0]["cluster"] == [f"127.0.0.1:{port + 3}", f"127.0.0.1:{port + 4}"]
    first.assert_nothing_is_left()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_that_is_gone_ends_the_others(launch, rank):
    launched = launch(0, "--max-restarts", 1, SCRIPT, "wait"), launch(1, SCRIPT, "wait")
    launched[0].starts(2)
    launched[rank].process.kill()
    code, _, stderr = launched[1 - rank].end()
    assert code == 1 and f"Node {rank} is gone" in stderr
    launched[0].assert_nothing_is_left()


@pytest.mark.parametrize("rank", [0, 1])
def test_ctrl_c_on_one_node_ends_all(launch, rank):
    launched = launch(0, SCRIPT, "wait"), launch(1, SCRIPT, "wait")
    launched[0].starts(2)
    launched[rank].process.send_signal(signal.SIGINT)
    for one in launched:
        code, _, stderr = one.end()
        assert code == 130 and "SIGINT" in stderr and "Traceback" not in stderr
    launched[0].assert_nothing_is_left()


def test_ctrl_c_ends_the_waiting_for_nodes(launch):
    for rank in (0, 1):
        launched = launch(rank, SCRIPT, nodes=3)
        assert "waiting for 3 nodes" in launched.process.stderr.readline()
        launched.process.send_signal(signal.SIGINT)
        assert launched.end()[0] == 130


def test_a_coordinator_port_that_is_taken_is_refused(launch, port):
    with socket.create_server(("", port)):
        code, _, stderr = launch(0, SCRIPT).end()
    assert code == 2 and f"The port of --coordinator must be free on node 0. Received: {port}" in stderr


def test_a_worker_port_that_is_taken_is_refused(launch, port):
    with socket.create_server(("", port + 2)):
        first, second = launch(0, SCRIPT, "wait"), launch(1, SCRIPT, "wait")
        for code, _, stderr in (first.end(), second.end()):
            assert code == 2 and f"which must be free. Received: port {port + 2} of node 1" in stderr


def test_nodes_that_disagree_are_refused(launch, port):
    launched = launch(0, SCRIPT)
    wait(lambda: not rendezvous.is_free(port), "coordinator")
    code, _, stderr = launch(0, SCRIPT).end()
    assert code == 2 and "must be free on node 0" in stderr
    code, _, stderr = launch(2, SCRIPT, nodes=3).end()
    assert code == 2 and "--nodes must be the same on every node. Received: 3 on node 2, 2 on node 0" in stderr
    second = launch(1, SCRIPT)
    assert (launched.end()[0], second.end()[0]) == (0, 0)  # neither was in the way
