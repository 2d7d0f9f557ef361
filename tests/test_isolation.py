"""The child process: results and errors come back; a crash, a hang, a kill or a flood of output do no harm here."""

import os
import signal
import threading
import time

import pytest

from tfopt import errors, isolation

HERE = "tests.child_functions"


@pytest.fixture(autouse=True)
def importable(monkeypatch, request):
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))


def test_result_and_progress_come_back():
    seen = []
    assert isolation.run(f"{HERE}:count", {"to": 3}, progress=seen.append) == [0, 1, 2]
    assert [report["done"] for report in seen] == [1, 2, 3]


def test_tfopt_errors_keep_kind_and_message():
    with pytest.raises(errors.DataError, match="^bad data$"):
        isolation.run(f"{HERE}:refuse", {"kind": "DataError", "message": "bad data"})


def test_other_errors_keep_their_traceback():
    with pytest.raises(RuntimeError, match="(?s)child_functions.py.*ZeroDivisionError"):
        isolation.run(f"{HERE}:divide", {})


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_death_names_signal_stage_and_suspects(name):
    with pytest.raises(errors.ConversionError, match=rf"'dig'.*{name}.*Layers to suspect: cave \(LSTM\)") as caught:
        isolation.run(f"{HERE}:die", {"signal": getattr(signal, name)})
    assert ("memory" in str(caught.value)) == (name == "SIGKILL")


def test_exit_without_an_answer():
    with pytest.raises(errors.ConversionError, match="exit code 5"):
        isolation.run(f"{HERE}:leave", {"code": 5})


def test_hang_is_ended_in_time():
    start = time.monotonic()
    with pytest.raises(errors.ConversionError, match="must end within 1 s.*'sleep'"):
        isolation.run(f"{HERE}:sleep", {}, timeout=1)
    assert time.monotonic() - start < 10


def test_chatter_on_standard_output_does_not_mix_with_answers(capfd):
    assert isolation.run(f"{HERE}:chatter", {}) == "done"
    out, err = capfd.readouterr()
    assert out == "" and err == ""
    assert isolation.run(f"{HERE}:chatter", {}) == "done"


def test_verbose_shows_the_chatter_on_standard_error(capfd):
    isolation.run(f"{HERE}:chatter", {}, verbose=True)
    out, err = capfd.readouterr()
    assert out == "" and "from C" in err and "from Python" in err


def test_no_child_outlives_its_context():
    with isolation.Child() as child:
        pid = child.call(f"{HERE}:pid", {}, timeout=30)
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_child_that_is_killed_from_outside():
    with isolation.Child() as child:
        pid = child.call(f"{HERE}:pid", {}, timeout=30)
        threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
        with pytest.raises(errors.ConversionError, match="SIGKILL"):
            child.call(f"{HERE}:sleep", {}, timeout=60)


def test_the_working_folder_is_not_imported_from(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    assert isolation.run(f"{HERE}:count", {"to": 1}) == [0]
