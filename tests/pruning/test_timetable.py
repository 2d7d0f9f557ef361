"""The place of a schedule in a run, and the steps at which masks are updated."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfopt
from tfopt.pruning.timetable import Timetable, place, run_of


@st.composite
def timetables(draw):
    begin, length = draw(st.integers(0, 100)), draw(st.integers(1, 100))
    return Timetable(tfopt.PolynomialDecay(0.8, begin=begin, end=begin + length), draw(st.integers(1, 120)))


@settings(deadline=None, max_examples=200)
@given(table=timetables(), step=st.integers(0, 300))
def test_what_is_due_and_what_follows(table, step):
    updates = table.updates
    assert updates == sorted(set(updates)) and (updates[0], updates[-1]) == (table.begin, table.end)
    assert all(later - earlier <= table.frequency for earlier, later in itertools.pairwise(updates))
    assert table.due(step) == max((update for update in updates if update <= step), default=None)
    assert table.following(step) == min((update for update in updates if update > step), default=None)


def test_a_constant_schedule_has_one_update():
    table = place(tfopt.ConstantSparsity(0.5, begin=0.5), None, 0, 100)
    assert table.updates == [50] and table.due(49) is None and table.due(99) == 50 and table.following(50) is None


@settings(deadline=None, max_examples=200)
@given(start=st.integers(0, 1000), total=st.integers(1, 5000), end=st.floats(0.1, 1.0))
def test_fractions_end_within_the_run_with_50_updates_or_as_many_as_there_are_steps(start, total, end):
    table = place(tfopt.PolynomialDecay(0.8, end=end), None, start, total)
    assert table.begin == start and table.begin < table.end <= max(start + total, start + 1)
    assert len(table.updates) <= 101
    assert table.frequency == max(1, (table.end - table.begin) // 50)
    assert place(tfopt.PolynomialDecay(0.8, end=end), 7, start, total).frequency == 7


def test_a_schedule_must_end_within_the_run():
    schedule = tfopt.PolynomialDecay(0.8, end=101)
    assert place(schedule, None, 0, None).end == 101  # the length of the run is unknown
    with pytest.raises(tfopt.PruningError, match=r"end at optimizer step 101, and a run of 90 steps that ends at step 100\."):
        place(schedule, None, 10, 90)


@settings(deadline=None, max_examples=200)
@given(epochs=st.integers(1, 20), batches=st.integers(1, 50), accumulated=st.sampled_from([1, 2, 4]), resumed=st.integers(0, 19))
def test_a_resumed_run_has_the_place_of_the_uninterrupted_one(epochs, batches, accumulated, resumed):
    epoch = min(resumed, epochs - 1)
    step = epoch * batches // accumulated
    if step or not epoch:
        assert run_of(step, epoch, epochs, batches, accumulated) == (0, epochs * batches // accumulated)
        assert run_of(step + 7, epoch, epochs, batches, accumulated)[0] == 7


@pytest.mark.parametrize(
    "arguments, run",
    [
        ((0, 0, 6, 4), (0, 24)),
        ((12, 3, 6, 4), (0, 24)),
        ((0, 3, 6, 4), (0, 12)),  # a new optimizer: the run begins here
        ((36, 3, 6, 4), (24, 24)),  # the optimizer made 24 steps before
        ((10, 3, 6, 4), (0, 24)),  # a loss scale left steps out
        ((6, 3, 6, 4, 2), (0, 12)),
        ((5, 0, None, 4), (5, None)),
        ((5, 0, 6, None), (5, None)),
    ],
)
def test_worked_runs(arguments, run):
    assert run_of(*arguments) == run
