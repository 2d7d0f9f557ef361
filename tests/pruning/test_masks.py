"""Patterns and masks: what holds for every matrix, pattern and count, and worked cases of equal scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tfopt
from tfopt.pruning import masks

quick = settings(deadline=None, max_examples=100)


@st.composite
def cases(draw, equal=True):
    """(a pattern, a matrix that it fits); with `equal`, magnitudes and zeros repeat, else all magnitudes differ."""
    pattern = draw(
        st.one_of(
            st.just(tfopt.Unstructured()),
            st.builds(lambda rows, columns: tfopt.Block((rows, columns)), st.integers(1, 4), st.integers(1, 4)),
            st.integers(2, 6).flatmap(lambda m: st.builds(tfopt.NByM, st.integers(1, m - 1), st.just(m))),
        )
    )
    rows, columns = pattern.shape if isinstance(pattern, tfopt.Block) else (getattr(pattern, "m", 1), 1)
    shape = rows * draw(st.integers(1, 5)), columns * draw(st.integers(1, 5))
    if equal:
        values = st.sampled_from([0.0, 1.0, -1.0, 2.0, -3.0, 0.5])
        return pattern, draw(arrays.arrays(np.float32, shape, elements=values))
    order = np.array(draw(st.permutations(range(1, shape[0] * shape[1] + 1))), "float32").reshape(shape)
    return pattern, order * draw(arrays.arrays(np.float32, shape, elements=st.sampled_from([1.0, -1.0])))


def count_at(pattern, matrix, share):
    """The count at a share of the most that the pattern removes."""
    most = pattern.sparsity if isinstance(pattern, tfopt.NByM) else 0.999
    return masks.count_zeros(matrix.size // pattern.unit, share * most)


@quick
@given(units=st.integers(1, 10_000_000), sparsity=st.floats(0, 1, exclude_max=True))
def test_the_count_is_the_sparsity_to_half_a_unit_and_one_unit_always_stays(units, sparsity):
    count = masks.count_zeros(units, sparsity)
    assert 0 <= count < units
    assert abs(count - units * sparsity) <= 0.5 + 1e-6 or count == units - 1
    assert masks.count_zeros(units, min(sparsity + 0.01, 0.999999)) >= count or sparsity > 0.999999
    assert masks.count_zeros(units, 0.0) == 0


@quick
@given(
    scores=arrays.arrays(np.float32, st.integers(1, 40), elements=st.sampled_from([0.0, 0.5, 1.0, 2.0, np.inf])),
    share=st.floats(0, 1),
)
def test_the_lowest_go_and_of_equal_ones_the_first(scores, share):
    count = round(share * len(scores))
    kept = masks.remove_lowest(scores, count)
    assert kept.dtype == bool and kept.shape == scores.shape
    gone = np.sort(np.argsort(scores, kind="stable")[:count])
    np.testing.assert_array_equal(np.flatnonzero(~kept), gone)


@quick
@given(case=cases(), share=st.floats(0, 1))
def test_the_count_is_exact_and_units_stay_whole(case, share):
    pattern, matrix = case
    count = count_at(pattern, matrix, share)
    (mask,) = masks.make_masks([matrix], pattern, [count])
    assert mask.shape == matrix.shape and mask.dtype == bool
    assert (~mask).sum() == count * pattern.unit
    if isinstance(pattern, tfopt.Block):
        rows, columns = pattern.shape
        blocks = mask.reshape(matrix.shape[0] // rows, rows, matrix.shape[1] // columns, columns)
        assert (blocks.all(axis=(1, 3)) == blocks.any(axis=(1, 3))).all()
    if isinstance(pattern, tfopt.NByM):
        assert (mask.reshape(-1, pattern.m, matrix.shape[1]).sum(axis=1) >= pattern.n).all()


@quick
@given(case=cases(equal=False), share=st.floats(0, 1))
def test_the_units_of_the_lowest_score_go(case, share):
    pattern, matrix = case
    (mask,) = masks.make_masks([matrix], pattern, [count_at(pattern, matrix, share)])
    size = np.abs(matrix)
    if isinstance(pattern, tfopt.Block):
        rows, columns = pattern.shape
        shape = matrix.shape[0] // rows, rows, matrix.shape[1] // columns, columns
        size, mask = size.reshape(shape).mean(axis=(1, 3)), mask.reshape(shape).any(axis=(1, 3))
    if isinstance(pattern, tfopt.NByM):  # the n largest of m are not among those that may go
        groups = size.reshape(-1, pattern.m, matrix.shape[1])
        size = np.where(groups < np.sort(groups, axis=1)[:, -pattern.n][:, None], groups, np.inf).reshape(size.shape)
    if not mask.all():
        assert size[~mask].max() <= size[mask].min()


@quick
@given(case=cases(equal=False))
def test_n_largest_of_m_are_left_at_the_end(case):
    pattern, matrix = case
    if isinstance(pattern, tfopt.NByM):
        (mask,) = masks.make_masks([matrix], pattern, [masks.count_zeros(matrix.size, pattern.sparsity)])
        groups = np.abs(matrix).reshape(-1, pattern.m, matrix.shape[1])
        largest = groups >= np.sort(groups, axis=1)[:, -pattern.n][:, None]
        np.testing.assert_array_equal(mask.reshape(groups.shape), largest)


@quick
@given(case=cases(), shares=st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_masks_grow(case, shares):
    """What went at a lower sparsity is gone at a higher one, where it is zero by then."""
    pattern, matrix = case
    matrix = np.where(matrix == 0, np.float32(1e-3), matrix)
    before = np.ones(matrix.shape, bool)
    for share in sorted(shares):
        (mask,) = masks.make_masks([np.where(before, matrix, 0)], pattern, [count_at(pattern, matrix, share)])
        assert not (mask & ~before).any()
        before = mask


@quick
@given(first=cases(equal=False), share=st.floats(0, 1), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_one_threshold_for_all(first, share, scale):
    pattern, matrix = first
    both = [matrix, scale * matrix[::-1]]
    count = 2 * count_at(pattern, matrix, share)
    made = masks.make_masks(both, pattern, count)
    assert sum((~mask).sum() for mask in made) == count * pattern.unit
    scores = np.concatenate([pattern.scores(each) for each in both])
    kept = np.concatenate([mask.ravel() for mask in made]) if pattern.unit == 1 else None
    if kept is not None and not kept.all():
        assert scores[~kept].max() <= scores[kept].min()


def test_ties_are_broken_so_that_the_count_is_exact():
    (mask,) = masks.make_masks([np.ones((4, 4), "float32")], tfopt.Unstructured(), [5])
    assert (~mask).sum() == 5 and not mask.ravel()[:5].any()


@quick
@given(st.data())
def test_matrix_and_back(data):
    shape = data.draw(arrays.array_shapes(min_dims=2, max_dims=5, max_side=4))
    axes = data.draw(st.permutations(range(len(shape))))
    inputs = tuple(sorted(axes[: data.draw(st.integers(1, len(shape) - 1))]))
    array = np.arange(np.prod(shape)).reshape(shape)
    matrix = masks.to_matrix(array, inputs)
    assert matrix.shape[0] == np.prod([shape[axis] for axis in inputs])
    np.testing.assert_array_equal(masks.from_matrix(matrix, shape, inputs), array)
    # all weights of one output stand in one column
    outputs = tuple(axis for axis in range(len(shape)) if axis not in inputs)
    np.testing.assert_array_equal(matrix.sum(axis=0), array.sum(axis=inputs).ravel() if outputs else array.sum())


def test_matrices_that_a_pattern_does_not_fit():
    assert tfopt.Unstructured().misfit((3, 5)) is None
    assert tfopt.Block((2, 4)).misfit((6, 8)) is None and tfopt.NByM(2, 4).misfit((8, 3)) is None
    assert tfopt.Block((2, 4)).misfit((6, 9)) == "a matrix of 6 x 9 does not divide into blocks of 2 x 4"
    assert tfopt.Block((2, 4)).misfit((5, 8)) == "a matrix of 5 x 8 does not divide into blocks of 2 x 4"
    assert tfopt.NByM(2, 4).misfit((6, 4)) == "6 inputs do not divide into groups of 4"


@pytest.mark.parametrize(
    "make",
    [
        lambda: tfopt.Block(4),
        lambda: tfopt.Block((0, 1)),
        lambda: tfopt.Block((1.5, 2)),
        lambda: tfopt.NByM(4, 4),
        lambda: tfopt.NByM(0, 4),
    ],
)
def test_wrong_patterns(make):
    with pytest.raises(tfopt.ArgumentError, match="Received"):
        make()
