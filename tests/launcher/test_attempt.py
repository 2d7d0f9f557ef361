"""Which worker is the cause, and who is asked to end or killed when: with workers that are stand-ins, and a clock of the tests."""

import signal
import types

import pytest

from tfopt.launcher import attempt
from tfopt.launcher.events import Events, Exited, Received, Signaled
from tfopt.launcher.job import Job, Outcome, Run

TRACEBACK = ("Traceback (most recent call last):", '  File "train.py", line 7, in main', "ValueError: of worker {}")


class Workers:
    """Makes stand-ins for `Worker`, and knows what was sent to each.

    Args:
        play: called with this object when the last worker has started; puts events.
        deaf: numbers of the workers that only SIGKILL ends.
        code: exit code of the others after a signal; None: minus its number.
    """

    def __init__(self, monkeypatch, play, deaf=(), code=None):
        self.play, self.deaf, self.code = play, deaf, code
        self.now, self.sent, self.ended = 0.0, [], set()
        self.events = Events()
        monkeypatch.setattr(attempt, "Worker", self.start)
        monkeypatch.setattr(attempt, "_TICK", 0.0)
        monkeypatch.setattr(attempt, "time", types.SimpleNamespace(monotonic=self.clock))

    def clock(self):
        """A second passes whenever somebody looks at the clock."""
        self.now += 1.0
        return self.now

    def run(self, count=2):
        cluster = [f"127.0.0.1:{1 + index}" for index in range(count)]
        self.count = count
        return attempt.Attempt(Job(script=__file__, workers=count), Run(cluster, 0, 0), self.events).run()

    def start(self, index, command, environment, *, cpus, output, events):
        self.output = output
        if index == self.count - 1:
            self.play(self)
        return types.SimpleNamespace(signal=lambda number: self.signal(index, number), close=lambda: None)

    def signal(self, index, number):
        self.sent.append((index, number, self.now))
        if number == signal.SIGKILL or index not in self.deaf:
            self.exit(index, -number if self.code is None or number == signal.SIGKILL else self.code)

    def exit(self, index, code):
        if index not in self.ended:
            self.ended.add(index)
            self.events.put(Exited(index, code))

    def trace(self, index):
        for line in TRACEBACK:
            self.output.line(index, "stderr", line.format(index))


def test_all_end_well(monkeypatch):
    def play(workers):
        workers.exit(0, 0)
        workers.exit(1, 0)

    workers = Workers(monkeypatch, play)
    assert workers.run() == Outcome(0, "", False) and workers.sent == []


@pytest.mark.parametrize("code", [None, 0], ids=["ended by the signal", "ended well"])
def test_who_raised_is_the_cause_though_another_is_gone_sooner(monkeypatch, capfd, code):
    """As under TensorFlow: who raised takes its time to end, and the others fail for lack of it."""

    def play(workers):
        workers.trace(1)
        workers.trace(0)
        workers.exit(0, 1)

    outcome = Workers(monkeypatch, play, code=code).run()
    assert outcome == Outcome(1, "Worker 1 of 2 failed with exit code 1; the other workers were stopped", True)
    shown = capfd.readouterr().err
    assert "[worker 1] ValueError: of worker 1\n" in shown and shown.count("Traceback") == 1


def test_who_logged_a_traceback_and_ended_well_is_not_the_cause(monkeypatch):
    def play(workers):
        workers.trace(0)
        workers.exit(0, 0)
        workers.exit(1, 7)

    assert Workers(monkeypatch, play).run()[:2] == (7, "Worker 1 of 2 failed with exit code 7; the other workers were stopped")


def test_who_was_killed_is_the_cause_whoever_raised(monkeypatch):
    def play(workers):
        workers.trace(1)
        workers.exit(0, -signal.SIGKILL)

    assert Workers(monkeypatch, play).run().reason.startswith("Worker 0 of 2 was killed by signal 9 (SIGKILL)")


def test_who_does_not_listen_is_killed_after_the_grace(monkeypatch):
    workers = Workers(monkeypatch, lambda workers: workers.exit(0, 3), deaf=(1,))
    assert workers.run(3).code == 3
    asked, *killed = [(number, when) for index, number, when in workers.sent if index == 1]
    assert asked[0] == signal.SIGTERM and {number for number, _ in killed} == {signal.SIGKILL}
    assert killed[0][1] > asked[1] + attempt.GRACE[signal.SIGTERM]
    assert [number for index, number, _ in workers.sent if index == 2] == [signal.SIGTERM]


def test_a_second_signal_kills_but_not_the_same_one_again(monkeypatch):
    def play(workers):
        for _ in range(2):
            workers.events.put(Signaled(signal.SIGINT))

    monkeypatch.setattr(attempt, "GRACE", dict.fromkeys(attempt.GRACE, 1e9))
    workers = Workers(monkeypatch, play, deaf=(0, 1))
    outcome = workers.run()  # a second lies between the two
    assert outcome == Outcome(130, "Stopped by SIGINT: all workers have ended", False)
    assert {number for _, number, _ in workers.sent} == {signal.SIGINT, signal.SIGKILL}

    monkeypatch.setattr(attempt, "GRACE", dict.fromkeys(attempt.GRACE, 50.0))
    monkeypatch.setattr(attempt, "_SAME_SIGNAL", 5.0)
    workers = Workers(monkeypatch, play, deaf=(0, 1))
    assert workers.run() == outcome
    assert min(when for _, number, when in workers.sent if number == signal.SIGKILL) > 50.0


def test_workers_of_a_reader_that_is_gone_are_ended(monkeypatch):
    workers = Workers(monkeypatch, lambda workers: workers.events.put(Signaled(signal.SIGPIPE)))
    assert workers.run() == Outcome(128 + signal.SIGPIPE, "Stopped by SIGPIPE: all workers have ended", False)
    assert {number for _, number, _ in workers.sent} == {signal.SIGTERM}  # Python ignores SIGPIPE


@pytest.mark.parametrize(
    ("message", "reason"),
    [({"stop": "Worker 5 of 6 failed"}, "Worker 5 of 6 failed"), ({"gone": True}, "Node 0 is gone")],
    ids=["failure", "gone"],
)
def test_a_failure_on_another_node_ends_the_workers(monkeypatch, message, reason):
    workers = Workers(monkeypatch, lambda workers: workers.events.put(Received(message)))
    assert workers.run() == Outcome(1, reason, False)
    assert {number for _, number, _ in workers.sent} == {signal.SIGTERM}
