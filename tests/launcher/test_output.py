"""What is shown of several workers' output when they fail."""

import io
import signal

import pytest

from tfopt.launcher.events import Events, Signaled
from tfopt.launcher.output import Output


class Both:
    """An `Output` with what came out of it."""

    def __init__(self):
        self.stdout, self.stderr, self.events = io.BytesIO(), io.BytesIO(), Events()
        self.output = Output(self.stdout, self.stderr, self.events)

    def fail(self, worker, error="ValueError: of worker {}", before=()):
        """A worker prints a traceback."""
        lines = ["Traceback (most recent call last):", '  File "train.py", line 7, in main', "    work()"]
        for line in (*before, *lines, error.format(worker)):
            self.output.line(worker, "stderr", line)

    def shown(self):
        return self.stderr.getvalue().decode().splitlines()


@pytest.fixture
def both():
    return Both()


def test_the_traceback_of_the_cause_is_shown_and_of_others_one_line(both):
    both.fail(1)
    both.fail(0, "UnavailableError: worker 1 is gone")
    assert both.shown() == [] and both.output.first_traceback({0, 1}) == 1 and both.output.first_traceback({0}) == 0
    both.output.finish(1)
    assert both.shown()[:4] == [
        "[worker 1] Traceback (most recent call last):",
        '[worker 1]   File "train.py", line 7, in main',
        "[worker 1]     work()",
        "[worker 1] ValueError: of worker 1",
    ]
    assert both.shown()[4:] == ["[worker 0] UnavailableError: worker 1 is gone (traceback left out: worker 1 failed first)"]


def test_chained_exceptions_belong_together(both):
    both.fail(0)
    both.output.line(0, "stderr", "")
    both.output.line(0, "stderr", "During handling of the above exception, another exception occurred:")
    both.output.line(0, "stderr", "")
    both.fail(0, "KeyError: 'x'")
    both.fail(1)
    both.output.finish(1)
    assert both.shown()[-1] == "[worker 0] KeyError: 'x' (traceback left out: worker 1 failed first)"
    assert len(both.shown()) == 5


def test_what_tensorflow_quotes_is_found(both):
    both.fail(0, "ValueError: in user code:")
    for line in ("", '    File "train.py", line 9, in step  *', "        return run()", "", "    TypeError: the cause", ""):
        both.output.line(0, "stderr", line)
    both.fail(1)
    both.output.finish(1)
    assert both.shown()[-1] == "[worker 0] TypeError: the cause (traceback left out: worker 1 failed first)"


def test_the_same_traceback_is_not_shown_again_by_workers_that_go_on(both):
    both.fail(0)
    both.output.release(older_than=0)
    both.fail(1)
    both.output.release(older_than=0)
    assert len(both.shown()) == 5
    assert both.shown()[-1] == "[worker 1] ValueError: of worker 1 (traceback left out: the same as in worker 0)"
    both.output.line(0, "stderr", "and on it goes")
    assert both.shown()[-1] == "[worker 0] and on it goes"


def test_interrupted_workers_are_silent_about_it(both):
    both.fail(0, "KeyboardInterrupt")
    both.fail(1, "OSError: while saving")
    both.output.finish(interrupted=True)
    assert both.shown()[-1] == "[worker 1] OSError: while saving" and len(both.shown()) == 4


def test_standard_output_is_never_held(both):
    both.fail(0)
    both.output.line(0, "stdout", "Traceback (most recent call last):")
    assert both.stdout.getvalue() == b"[worker 0] Traceback (most recent call last):\n"


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_lines_end_in_any_way_and_the_last_need_not_end(both, tmp_path, ends):
    (tmp_path / "said").write_bytes(ends.join([b"one", b"two \xff", b"three"]))
    with open(tmp_path / "said", "rb") as file:
        both.output.pump(3, "stdout", file.fileno())
    assert both.stdout.getvalue().decode() == "[worker 3] one\n[worker 3] two \ufffd\n[worker 3] three\n"


def test_a_reader_that_is_gone_is_told(both):
    class Gone(io.BytesIO):
        def write(self, _):
            raise BrokenPipeError

    both.output = Output(Gone(), both.stderr, both.events)
    both.output.line(0, "stdout", "lost")
    both.output.line(0, "stdout", "lost as well")
    assert both.events.get_nowait() == Signaled(signal.SIGPIPE) and both.events.empty()
