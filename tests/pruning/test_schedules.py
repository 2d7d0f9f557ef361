"""Schedules: worked values, places in a run, and arguments that are refused."""

import pytest

import tfopt


def test_constant():
    schedule = tfopt.ConstantSparsity(0.5, begin=100)
    assert [schedule(step) for step in (0, 99, 100, 10_000)] == [0.0, 0.0, 0.5, 0.5]


def test_polynomial():
    schedule = tfopt.PolynomialDecay(0.8, initial_sparsity=0.2, begin=100, end=300)
    # 0.8 + (0.2 - 0.8) (1 - p)^3 at p = 0, 1/4, 1/2, 1
    assert [schedule(step) for step in (100, 150, 200, 300)] == pytest.approx([0.2, 0.546875, 0.725, 0.8])
    assert schedule(99) == 0.0 and schedule(5000) == 0.8
    even = tfopt.PolynomialDecay(0.8, begin=0, end=100, power=1)
    assert even(25) == pytest.approx(0.2)


def test_fractions_are_of_the_run_and_ints_are_steps():
    schedule = tfopt.PolynomialDecay(0.8, begin=0.1, end=0.6)
    assert (schedule.resolve(0, 1000).begin, schedule.resolve(0, 1000).end) == (100, 600)
    assert (schedule.resolve(500, 1000).begin, schedule.resolve(500, 1000).end) == (600, 1100)
    fixed = tfopt.PolynomialDecay(0.8, begin=10, end=20)
    assert fixed.resolve(500, 1000) == fixed
    assert tfopt.ConstantSparsity(0.5).resolve(7, None).begin == 7
    with pytest.raises(tfopt.ArgumentError, match="length of the run is unknown"):
        schedule.resolve(0, None)


def test_a_plan_gives_each_layer_its_schedule():
    schedule = tfopt.PolynomialDecay({"a": 0.5, "b": 0.9}, begin=0, end=10)
    assert schedule.of("a")(10) == 0.5 and schedule.of("b")(10) == 0.9


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: tfopt.ConstantSparsity(1.0), r"in \[0, 1\)"),
        (lambda: tfopt.ConstantSparsity(80), r"80 % is 0.8. Received: sparsity=80"),
        (lambda: tfopt.ConstantSparsity(-0.1), "Received: sparsity=-0.1"),
        (lambda: tfopt.ConstantSparsity(float("nan")), "nan"),
        (lambda: tfopt.ConstantSparsity(True), "True"),
        (lambda: tfopt.ConstantSparsity({"dense": 2.0}), r"sparsity\['dense'\]"),
        (lambda: tfopt.ConstantSparsity({}), "Received: sparsity={}"),
        (lambda: tfopt.ConstantSparsity(0.5, begin=1.5), "begin must be a fraction"),
        (lambda: tfopt.ConstantSparsity(0.5, begin=-1), "begin must be a fraction"),
        (lambda: tfopt.PolynomialDecay(0.5, initial_sparsity=0.6), "must not exceed"),
        (lambda: tfopt.PolynomialDecay(0.5, begin=0.8), "end must lie behind begin"),
        (lambda: tfopt.PolynomialDecay(0.5, begin=10, end=10), "end must lie behind begin"),
        (lambda: tfopt.PolynomialDecay(0.5, power=0), "power"),
    ],
    ids=lambda value: "" if callable(value) else value[:20],
)
def test_wrong_arguments(make, words):
    with pytest.raises(tfopt.ArgumentError, match=words):
        make()
