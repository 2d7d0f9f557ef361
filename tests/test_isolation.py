"""The child process: results and errors come back; a crash, a hang, a kill or a flood of output do no harm here."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from tfopt import errors, isolation
from tfopt.request import Request

HERE = "child_functions"


@dataclasses.dataclass(frozen=True)
class Asked(Request):
    """What the functions of `child_functions` are asked with."""

    to: int = 0
    kind: str = ""
    message: str = ""
    signal: int = 0
    code: int = 0


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parent), prepend=os.pathsep)


def test_result_and_progress_come_back():
    seen = []
    assert isolation.run(f"{HERE}:count", Asked(to=3), progress=seen.append) == [0, 1, 2]
    assert [report["done"] for report in seen] == [1, 2, 3]


def test_tfopt_errors_keep_kind_and_message():
    with pytest.raises(errors.DataError, match="^bad data$"):
        isolation.run(f"{HERE}:refuse", Asked(kind="DataError", message="bad data"))


def test_other_errors_keep_their_traceback():
    with pytest.raises(RuntimeError, match="(?s)child_functions.py.*ZeroDivisionError"):
        isolation.run(f"{HERE}:divide", Asked())


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_death_names_signal_stage_and_suspects(name):
    with pytest.raises(errors.ConversionError, match=rf"'dig'.*{name}.*Layers to suspect: cave \(LSTM\)") as caught:
        isolation.run(f"{HERE}:die", Asked(signal=getattr(signal, name)))
    assert ("memory" in str(caught.value)) == (name == "SIGKILL")


def test_exit_without_an_answer():
    with pytest.raises(errors.ConversionError, match="exit code 5"):
        isolation.run(f"{HERE}:leave", Asked(code=5))


def test_hang_is_ended_in_time():
    start = time.monotonic()
    with pytest.raises(errors.ConversionError, match="must end within 1 s.*'sleep'"):
        isolation.run(f"{HERE}:sleep", Asked(), timeout=1)
    assert time.monotonic() - start < 10


def test_chatter_on_standard_output_does_not_mix_with_answers(capfd):
    assert isolation.run(f"{HERE}:chatter", Asked()) == "done"
    out, err = capfd.readouterr()
    assert out == "" and err == ""
    assert isolation.run(f"{HERE}:chatter", Asked()) == "done"


def test_verbose_shows_the_chatter_on_standard_error(capfd):
    isolation.run(f"{HERE}:chatter", Asked(), verbose=True)
    out, err = capfd.readouterr()
    assert out == "" and "from C" in err and "from Python" in err


def test_no_child_outlives_its_context():
    with isolation.Child() as child:
        pid = child.call(f"{HERE}:pid", Asked(), timeout=30)
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_child_outlives_its_parent_even_where_no_python_can_run():
    program = f"""
from test_isolation import Asked
from tfopt.isolation import Child
Child().call("{HERE}:hold", Asked(), timeout=600, progress=lambda report: print(report["stage"], flush=True))
"""
    paths = os.pathsep.join([str(pathlib.Path(__file__).parent), *filter(None, sys.path)])
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child outlived its parent")


def test_a_child_that_is_killed_from_outside():
    with isolation.Child() as child:
        pid = child.call(f"{HERE}:pid", Asked(), timeout=30)
        threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
        with pytest.raises(errors.ConversionError, match="SIGKILL"):
            child.call(f"{HERE}:sleep", Asked(), timeout=60)


def test_the_working_folder_is_not_imported_from(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    assert isolation.run(f"{HERE}:count", Asked(to=1)) == [0]


def test_a_child_collects_garbage_but_not_among_what_it_has_imported():
    with isolation.Child(preload="json") as child:
        is_collected, left_out = child.call(f"{HERE}:garbage", Asked(), timeout=30)
    assert is_collected and left_out > 1000


def pid_of(child):
    return child.call(f"{HERE}:pid", Asked(), timeout=60)


@pytest.fixture
def no_warm_child():
    isolation.end_warm_children()
    yield
    isolation.end_warm_children()


def test_a_warm_child_is_used_again(no_warm_child):
    with isolation.warm_child("json") as child:
        first = pid_of(child)
        with isolation.warm_child("json") as other:  # two at once have a child each
            assert pid_of(other) != first
    with isolation.warm_child("json") as child:
        kept = pid_of(child)
    with pytest.raises(errors.DataError), isolation.warm_child("json") as child:
        child.call(f"{HERE}:refuse", Asked(kind="DataError", message="bad data"), timeout=30)
    with isolation.warm_child("json") as child:
        assert pid_of(child) == kept  # an error in the work is no reason to start anew
    isolation.end_warm_children()
    with pytest.raises(ProcessLookupError):
        os.kill(kept, 0)


def test_children_of_other_modules_are_kept_apart(no_warm_child):
    with isolation.warm_child("json") as child:
        first = pid_of(child)
    with isolation.warm_child("csv") as child:
        assert pid_of(child) != first
    with isolation.warm_child("json") as child:
        assert pid_of(child) == first


@pytest.mark.parametrize("way", ["killed", "hanging", "interrupted"])
def test_a_child_that_cannot_work_is_not_kept(no_warm_child, way):
    with isolation.warm_child("json") as child:
        first = pid_of(child)
        if way == "killed":
            os.kill(first, signal.SIGKILL)
            with pytest.raises(errors.ConversionError, match="SIGKILL"):
                pid_of(child)
        elif way == "hanging":
            with pytest.raises(errors.ConversionError, match="must end within"):
                child.call(f"{HERE}:sleep", Asked(), timeout=0.5)
        else:

            def interrupt(report):
                raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                child.call(f"{HERE}:sleep", Asked(), timeout=30, progress=interrupt)
    with isolation.warm_child("json") as child:
        assert pid_of(child) != first


def test_a_fork_does_not_share_the_warm_child(no_warm_child):
    with isolation.warm_child("json") as child:
        first = pid_of(child)
    read, write = os.pipe()
    fork = os.fork()
    if fork == 0:
        with isolation.warm_child("json") as own:
            os.write(write, str(pid_of(own)).encode())
            own.__exit__()
        os._exit(0)
    os.waitpid(fork, 0)
    assert int(os.read(read, 100)) != first
    with isolation.warm_child("json") as child:
        assert pid_of(child) == first
