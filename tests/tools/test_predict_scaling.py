"""tools/predict_scaling.py: the fit finds the constants of a made-up measurement, and what it predicts follows the formulas."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(__file__).parents[2] / "tools" / "predict_scaling.py"
spec = importlib.util.spec_from_file_location("predict_scaling", SOURCE)
scaling = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = scaling  # where a dataclass looks for its module
spec.loader.exec_module(scaling)

TRUE = scaling.Cost(c0=0.01, c1=0.002, latency=2e-4, bandwidth=5e8, overlap=0.25, gradient_bytes=2_000_000)


def measured(shared=0.003):
    """What `bench_distribution.py` would write if steps cost exactly this; `shared` s: what two workers on one machine cost."""
    half = TRUE.compute(32)
    exchange = 2 * TRUE.latency + TRUE.gradient_bytes / TRUE.bandwidth
    sizes = (1024, 262_144, 1_048_576, 4_194_304)
    return {
        "batch": 64, "rounds": 1, "steps": 1, "machine": "made up", "gradient_bytes": TRUE.gradient_bytes,
        "seconds": {
            "t1": TRUE.compute(64), "half": half, "apart": half + shared, "t2": half + shared + (1 - TRUE.overlap) * exchange
        },
        "all_reduce_seconds": {str(size): 2 * TRUE.latency + size / TRUE.bandwidth for size in sizes},
    }  # fmt: skip


def test_the_fit_finds_what_the_measurement_was_made_of():
    cost = scaling.fit(measured())
    for name in ("c0", "c1", "latency", "bandwidth", "overlap"):
        assert getattr(cost, name) == pytest.approx(getattr(TRUE, name), rel=1e-6), name


def test_two_workers_are_predicted_as_measured():
    found = measured(shared=0.0)
    cost = scaling.fit(found)
    assert cost.step(1, 64) == pytest.approx(found["seconds"]["t1"])
    assert cost.step(2, 32) == pytest.approx(found["seconds"]["t2"])


def test_a_network_of_ones_own_replaces_what_was_measured():
    cost = scaling.fit(measured(), bandwidth=1e9, latency=0.0, overlap=0.0)
    assert cost.all_reduce(4) == pytest.approx(2 * 3 / 4 * 2e6 / 1e9)
    assert cost.all_reduce(1) == 0.0 and cost.efficiency(1, 32) == 1.0


def test_no_noise_makes_a_constant_negative():
    found = measured()
    found["seconds"] |= {"t1": 0.02, "half": 0.03, "t2": 0.01}
    found["all_reduce_seconds"] = {"1024": 0.002, "1048576": 0.001}
    cost = scaling.fit(found)
    assert min(cost.c0, cost.c1, cost.latency) >= 0 and cost.bandwidth > 0 and 0 <= cost.overlap <= 1


def test_hidden_communication_ends_with_the_backward_pass():
    slow = scaling.Cost(c0=0.0, c1=0.001, latency=0.01, bandwidth=1e6, overlap=1.0, gradient_bytes=1_000_000)
    assert slow.step(8, 10) == pytest.approx(slow.all_reduce(8) + slow.compute(10) / 3)


def test_accumulation_and_larger_batches_win_back_what_communication_costs():
    efficiencies = [TRUE.efficiency(64, 32, count) for count in (1, 2, 4, 8)]
    assert efficiencies == sorted(efficiencies) and efficiencies[-1] > 0.9 > efficiencies[0]
    assert TRUE.efficiency(64, 64) > TRUE.efficiency(64, 32)
    assert TRUE.step(64, 64) < TRUE.step(64, 32, accumulate=2)  # c0 once


def test_the_table_says_what_it_comes_from(tmp_path):
    (tmp_path / "measured.json").write_text(json.dumps(measured()))
    command = [sys.executable, SOURCE, tmp_path / "measured.json", "--global-batch", "256"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    first, second, third, *_ = finished.stdout.splitlines()
    assert "made up" in first and "10.00 ms + 2.000 ms per sample" in second
    assert third == "latency 200 us, bandwidth 0.500 GB/s, overlap 0.25"
    rows = {row.split()[0]: row.split()[1:] for row in finished.stdout.splitlines() if row.split() and row.split()[0].isdecimal()}
    assert list(map(int, rows)) == list(scaling.WORKERS)
    assert rows["1"][2] == "1.000" and rows["2"][0] == f"{1000 * TRUE.step(2, 32):.1f}"
    assert rows["512"][-1] == "-"  # less than a sample for each
    efficiencies = [float(row[2]) for row in rows.values()]
    assert efficiencies == sorted(efficiencies, reverse=True)
