"""Jobs that are refused before anything starts, and what a worker gets."""

import os

import pytest

import tfopt
from tfopt.launcher import rendezvous
from tfopt.launcher.job import Job, Run


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "-n must be 1 or more. Received: 0."),
        ({"threads_per_worker": 0}, "--threads-per-worker must be 1 or more. Received: 0."),
        ({"max_restarts": -1}, "--max-restarts must be 0 or more. Received: -1."),
        ({"script": "nothing.py"}, "must be a Python file. Received: 'nothing.py'"),
        ({"nodes": 0}, "--nodes must be 1 or more. Received: 0."),
        ({"nodes": 2}, "--nodes and --coordinator belong together. Received: --nodes 2 and no --coordinator"),
        ({"coordinator": "a:1"}, "--nodes and --coordinator belong together. Received: --nodes 1 and --coordinator a:1"),
        ({"nodes": 2, "node_rank": 2, "coordinator": "a:1"}, "--node-rank must be from 0 to --nodes - 1 = 1. Received: 2."),
        ({"nodes": 2, "coordinator": "host"}, "--coordinator must be HOST:PORT with a port from 1 to 64999. Received: 'host'."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_job_is_refused(options, words):
    with pytest.raises(tfopt.LaunchError) as caught:
        Job(**{"script": __file__, **options})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{'cluster'", "TF_CONFIG must be JSON. Received: \"{'cluster'\""),
        ("[1]", "TF_CONFIG must be a JSON object"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "TF_CONFIG must not be set"),
        ('{"task": {"type": "worker", "index": 0}}', "TF_CONFIG must not be set"),
    ],
    ids=["damaged", "no object", "a cluster", "a task"],
)
def test_another_cluster_is_refused(value, words):
    with pytest.raises(tfopt.LaunchError) as caught:
        rendezvous.check_no_cluster({"TF_CONFIG": value})
    assert words in str(caught.value)


@pytest.mark.parametrize("environment", [{}, {"TF_CONFIG": " "}, {"TF_CONFIG": "{}"}], ids=str)
def test_no_cluster_is_no_reason_to_refuse(environment):
    rendezvous.check_no_cluster(environment)


def test_addresses():
    assert rendezvous.address("host0:2222") == ("host0", 2222)
    assert rendezvous.address("[::1]:2222") == ("::1", 2222)


def test_cpus_are_given_out_in_turn(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 3, 5}, raising=False)
    job = Job(script=__file__, workers=3, threads_per_worker=2)
    assert [job.cpus(place) for place in range(3)] == [(1, 3), (1, 5), (3, 5)]
    assert Job(script=__file__, threads_per_worker=4).cpus(0) == Job(script=__file__).cpus(0) == ()  # all


def test_settings_of_the_user_come_first(monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    monkeypatch.setenv("TFOPT_RESTART", "7")
    environment = Job(script=__file__).environment(Run(["a:1"], 0, 1), 0)
    assert environment["PYTHONUNBUFFERED"] == "" and environment["TFOPT_RESTART"] == "1"
    assert "OMP_NUM_THREADS" not in environment or "OMP_NUM_THREADS" in os.environ
