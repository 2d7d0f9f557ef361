"""`tfopt launch` as whole processes: what workers get, what comes back, and what is left when something dies."""

import json
import os
import re
import signal
import time

import pytest
from launched import HOUR, SCRIPT, start_launchers, wait


@pytest.fixture
def launch(tmp_path):
    """Starts `tfopt launch OPTIONS`; whatever happens, nothing of it outlives the test."""
    with start_launchers(tmp_path) as start:
        yield start


def test_every_worker_gets_its_place_and_the_script_its_arguments(launch, tmp_path):
    (tmp_path / "show.py").write_text(
        "import os, sys, json\n"
        "print(json.dumps([sys.argv[1:], json.loads(os.environ['TF_CONFIG'])]))\n"
        "print('to stderr', file=sys.stderr)\n"
    )
    code, stdout, stderr = launch("-n", 3, "show.py", "-n", "5", "--help", "a b").end()
    assert (code, stderr.count("to stderr")) == (0, 3)
    shown = dict(re.fullmatch(r"\[worker (\d)\] (.*)", line).groups() for line in stdout.splitlines())
    shown = {int(index): json.loads(text) for index, text in shown.items()}
    assert [shown[index][0] for index in range(3)] == [["-n", "5", "--help", "a b"]] * 3
    clusters = [shown[index][1]["cluster"] for index in range(3)]
    assert clusters[0] == clusters[1] == clusters[2] and len(set(clusters[0]["worker"])) == 3
    assert [shown[index][1]["task"] for index in range(3)] == [{"type": "worker", "index": index} for index in range(3)]


def test_threads_per_worker_sizes_the_pools_and_gives_out_cpus(launch, tmp_path):
    (tmp_path / "show.py").write_text(
        "import os\nprint(os.environ['TF_NUM_INTRAOP_THREADS'], os.environ['OMP_NUM_THREADS'], *os.sched_getaffinity(0))"
    )
    code, stdout, _ = launch("-n", 2, "--threads-per-worker", 1, "show.py").end()
    cpus = sorted(os.sched_getaffinity(0))
    expected = {f"[worker {index}] 1 1 {cpus[index % len(cpus)]}" for index in range(2)}
    assert (code, set(stdout.splitlines())) == (0, expected)


def test_a_module_runs_by_its_name(launch, tmp_path):
    (tmp_path / "some_module.py").write_text("print('of the module')")
    assert launch("-m", "some_module").end()[:2] == (0, "[worker 0] of the module\n")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_ends_all_and_is_named(launch, victim):
    launched = launch("-n", 3, SCRIPT, "wait", grace=HOUR)  # the others end when they are asked to
    os.kill(launched.starts(3)[victim]["pids"][0], signal.SIGKILL)
    code, _, stderr = launched.end()
    assert code == 128 + signal.SIGKILL
    assert f"Worker {victim} of 3 was killed by signal 9 (SIGKILL)" in stderr
    launched.assert_nothing_is_left()


def test_workers_that_do_not_listen_are_killed_after_a_while(launch):
    launched = launch("-n", 2, SCRIPT, "deaf", grace=1)
    starts = launched.starts(2)
    launched.read_lines(2, "deaf")
    began = time.monotonic()
    os.kill(starts[0]["pids"][0], signal.SIGKILL)
    code, stdout, stderr = launched.end()
    assert code == 137 and "Worker 0" in stderr and stdout == "[worker 1] heard SIGTERM\n"
    assert time.monotonic() - began >= 1
    launched.assert_nothing_is_left()


def test_after_a_restart_the_job_runs_again_on_other_ports(launch):
    launched = launch("-n", 2, "--max-restarts", 1, SCRIPT, "wait-once")
    first = launched.starts(2)
    os.kill(first[1]["pids"][0], signal.SIGKILL)
    code, stdout, stderr = launched.end()
    assert code == 0 and "Worker 1 of 2 was killed" in stderr and "restarting all workers (restart 1 of 1)" in stderr
    assert sorted(stdout.splitlines()) == ["[worker 0] done 0", "[worker 1] done 1"]
    second = launched.starts(2, restart=1)
    assert not set(first[0]["cluster"]) & set(second[0]["cluster"])
    launched.assert_nothing_is_left()


def test_restarts_are_counted(launch, tmp_path):
    code, _, stderr = launch("-n", 2, "--max-restarts", 2, SCRIPT, "exit").end()
    assert code == 7 and stderr.count("restarting all workers") == 2 and stderr.count("failed with exit code 7") == 3
    assert len(list(tmp_path.glob("start*.json"))) <= 6


def test_the_traceback_of_what_fails_everywhere_is_shown_once(launch):
    launched = launch("-n", 4, SCRIPT, "raise")
    code, _, stderr = launched.end()
    assert code == 1 and stderr.count("Traceback (most recent call last)") == 1 and stderr.count("raise ValueError") == 1
    cause = re.search(r"\[worker (\d)\] Traceback", stderr)[1]
    assert (
        f"Worker {cause} of 4 failed with exit code 1" in stderr and f"[worker {cause}] ValueError: of worker {cause}\n" in stderr
    )
    launched.assert_nothing_is_left()


def test_the_traceback_of_one_worker_is_shown_and_it_is_named(launch):
    code, _, stderr = launch("-n", 2, SCRIPT, "raise", 1).end()
    assert code == 1 and stderr.count("Traceback (most recent call last)") == 1
    assert "[worker 1] ValueError: of worker 1" in stderr and "Worker 1 of 2 failed with exit code 1" in stderr


def test_a_traceback_that_was_only_logged_is_shown_too(launch):
    code, stdout, stderr = launch("-n", 1, SCRIPT, "logged").end()
    assert (code, stdout) == (0, "[worker 0] done 0\n")
    assert "[worker 0] ValueError: logged" in stderr and "Traceback" in stderr


def test_the_exit_code_is_that_of_the_script(launch):
    code, _, stderr = launch("-n", 2, SCRIPT, "exit", 1).end()
    assert code == 7 and "Worker 1 of 2 failed with exit code 7" in stderr and "Traceback" not in stderr


def test_ctrl_c_ends_all(launch):
    launched = launch("-n", 2, SCRIPT, "wait")
    launched.starts(2)
    launched.process.send_signal(signal.SIGINT)
    code, _, stderr = launched.end()
    assert code == 130 and "SIGINT" in stderr
    assert "Traceback" not in stderr  # every worker raises KeyboardInterrupt
    launched.assert_nothing_is_left()


def test_a_second_ctrl_c_kills(launch):
    launched = launch("-n", 2, SCRIPT, "deaf", grace=HOUR)
    launched.read_lines(2, "deaf")
    launched.process.send_signal(signal.SIGINT)
    launched.read_lines(2, "heard SIGINT")
    time.sleep(0.6)  # a second signal within 0.5 s counts as the first
    assert launched.process.poll() is None
    launched.process.send_signal(signal.SIGINT)
    assert launched.end()[0] == 130
    launched.assert_nothing_is_left()


def test_sigterm_ends_all(launch):
    launched = launch("-n", 2, "--max-restarts", 3, SCRIPT, "wait")
    launched.starts(2)
    launched.process.terminate()
    assert launched.end()[0] == 128 + signal.SIGTERM
    launched.assert_nothing_is_left()


@pytest.mark.parametrize("action", ["wait", "deaf"])
def test_no_worker_survives_a_launcher_that_is_killed(launch, action):
    launched = launch("-n", 2, SCRIPT, action)
    launched.starts(2)
    launched.process.kill()
    launched.process.wait()
    launched.assert_nothing_is_left()


def test_a_worker_whose_warden_is_killed_does_not_survive(launch):
    launched = launch("-n", 2, SCRIPT, "wait")
    worker = launched.starts(2)[1]["pids"][0]
    os.kill(os.getpgid(worker), signal.SIGKILL)  # the leader of its group
    code, _, stderr = launched.end()
    assert code == 137 and "Worker 1 of 2 was killed" in stderr
    launched.assert_nothing_is_left()


def test_a_reader_that_goes_away_ends_the_job(launch, tmp_path):
    (tmp_path / "talk.py").write_text("while True: print('x')")
    launched = launch("-n", 2, "talk.py")
    launched.process.stdout.readline()
    launched.process.stdout.close()
    wait(lambda: launched.process.poll() is not None, "end")
    assert launched.process.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        (["-n", 0, SCRIPT], {}, "-n must be 1 or more. Received: 0."),
        ([SCRIPT], {"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}}'}, "TF_CONFIG must not be set"),
    ],
    ids=["no worker", "another cluster"],
)
def test_a_job_that_is_refused_starts_nothing(launch, tmp_path, options, environment, words):
    code, stdout, stderr = launch(*options, **environment).end()
    assert (code, stdout) == (2, "") and words in stderr and "Traceback" not in stderr
    assert not list(tmp_path.glob("start*.json"))
