"""Schedules: bounds, order and places in a run for all arguments, worked values, and arguments that are refused."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfopt

quick = settings(deadline=None, max_examples=200)
shares = st.floats(0, 0.999)


@st.composite
def polynomials(draw):
    """A schedule whose positions are steps."""
    final = draw(shares)
    begin = draw(st.integers(0, 1000))
    return tfopt.PolynomialDecay(
        final,
        initial_sparsity=final * draw(st.floats(0, 1)),
        begin=begin,
        end=begin + draw(st.integers(1, 1000)),
        power=draw(st.sampled_from([0.5, 1, 2, 3, 5.5])),
    )


@quick
@given(schedule=polynomials(), steps=st.lists(st.integers(0, 2500), min_size=2, max_size=10))
def test_a_polynomial_rises_from_its_initial_to_its_final_sparsity(schedule, steps):
    values = [schedule(step) for step in sorted(steps)]
    assert all(earlier <= later + 1e-12 for earlier, later in itertools.pairwise(values))
    assert all(0 <= value <= schedule.final_sparsity + 1e-12 for value in values)
    assert schedule(schedule.begin) == pytest.approx(schedule.initial_sparsity)
    assert schedule(schedule.end) == schedule(schedule.end + 1) == pytest.approx(schedule.final_sparsity)
    assert schedule.begin == 0 or schedule(schedule.begin - 1) == 0.0


@quick
@given(schedule=polynomials(), step=st.integers(0, 2500))
def test_a_polynomial_is_its_formula(schedule, step):
    progress = min(max((step - schedule.begin) / (schedule.end - schedule.begin), 0), 1)
    final, initial = schedule.final_sparsity, schedule.initial_sparsity
    expected = 0 if step < schedule.begin else final + (initial - final) * (1 - progress) ** schedule.power
    assert schedule(step) == pytest.approx(expected)


@quick
@given(sparsity=shares, begin=st.integers(0, 1000), step=st.integers(0, 2000))
def test_a_constant_schedule_is_zero_before_its_begin(sparsity, begin, step):
    schedule = tfopt.ConstantSparsity(sparsity, begin=begin)
    assert schedule(step) == (sparsity if step >= begin else 0.0)
    assert schedule.end == begin and schedule.final == sparsity


@quick
@given(
    begin=st.floats(0, 0.9),
    length=st.floats(0.01, 0.1),
    start=st.integers(0, 10_000),
    steps=st.integers(1, 10_000),
)
def test_fractions_are_of_the_run_and_ints_are_steps(begin, length, start, steps):
    placed = tfopt.PolynomialDecay(0.8, begin=begin, end=begin + length).resolve(start, steps)
    assert placed.begin == start + round(begin * steps)
    assert placed.end == max(start + round((begin + length) * steps), placed.begin + 1)
    assert isinstance(placed.begin, int) and isinstance(placed.end, int)
    assert placed.resolve(start + 7, steps) == placed
    constant = tfopt.ConstantSparsity(0.8, begin=begin).resolve(start, steps)
    assert constant.begin == placed.begin and constant.resolve(0, None) == constant


def test_worked_values():
    schedule = tfopt.PolynomialDecay(0.8, initial_sparsity=0.2, begin=100, end=300)
    # 0.8 + (0.2 - 0.8) (1 - p)^3 at p = 0, 1/4, 1/2, 1
    assert [schedule(step) for step in (100, 150, 200, 300)] == pytest.approx([0.2, 0.546875, 0.725, 0.8])
    assert tfopt.PolynomialDecay(0.8, begin=0, end=100, power=1)(25) == pytest.approx(0.2)
    halfway = tfopt.PolynomialDecay(0.8, begin=0.1, end=0.6).resolve(500, 1000)
    assert (halfway.begin, halfway.end) == (600, 1100)


def test_the_length_of_the_run_must_be_known_for_fractions_above_zero():
    assert tfopt.ConstantSparsity(0.5).resolve(7, None).begin == 7
    for schedule in (tfopt.PolynomialDecay(0.8), tfopt.ConstantSparsity(0.8, begin=0.5)):
        with pytest.raises(tfopt.ArgumentError, match="length of the run is unknown"):
            schedule.resolve(0, None)


def test_a_plan_gives_each_layer_its_schedule():
    schedule = tfopt.PolynomialDecay({"a": 0.5, "b": 0.9}, begin=0, end=10)
    assert schedule.of("a")(10) == 0.5 and schedule.of("b")(10) == 0.9
    constant = tfopt.ConstantSparsity({"a": 0.5, "b": 0.9}, begin=0)
    assert constant.of("a")(0) == 0.5 and constant.of("b") == tfopt.ConstantSparsity(0.9, begin=0)
    assert tfopt.ConstantSparsity(0.5).of("a") == tfopt.ConstantSparsity(0.5)
    for plan in (schedule, constant):
        with pytest.raises(tfopt.ArgumentError, match=r"has a sparsity for each layer. Received: .*of\(name\)"):
            plan(10)


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
        (lambda: tfopt.PolynomialDecay({"a": 0.9, "b": 0.5}, initial_sparsity=0.6), "must not exceed"),
        (lambda: tfopt.PolynomialDecay(0.5, begin=0.8), "end must be after begin"),
        (lambda: tfopt.PolynomialDecay(0.5, begin=10, end=10), "end must be after begin"),
        (lambda: tfopt.PolynomialDecay(0.5, power=0), "power"),
    ],
    ids=lambda value: "" if callable(value) else value[:20],
)
def test_wrong_arguments(make, words):
    with pytest.raises(tfopt.ArgumentError, match=words):
        make()
