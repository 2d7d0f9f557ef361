"""Masks against what NumPy says by sorting, unit by unit."""

import numpy as np
import pytest

import tfopt
from tfopt.pruning import masks

PATTERNS = [tfopt.Unstructured(), tfopt.Block((2, 4)), tfopt.Block((4, 1)), tfopt.NByM(2, 4), tfopt.NByM(1, 4)]


@pytest.fixture
def matrix():
    return np.random.default_rng(0).normal(size=(16, 8)).astype("float32")


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.37, 0.5, 0.9, 0.999])
def test_the_smallest_go(matrix, sparsity):
    count = masks.count_zeros(matrix.size, sparsity)
    (mask,) = masks.make_masks([matrix], tfopt.Unstructured(), [count])
    assert (~mask).sum() == count == matrix.size - max(1, round(matrix.size * (1 - sparsity)))
    if count:
        assert np.abs(matrix)[~mask].max() < np.abs(matrix)[mask].min()


def test_ties_are_broken_so_that_the_count_is_exact():
    (mask,) = masks.make_masks([np.ones((4, 4), "float32")], tfopt.Unstructured(), [5])
    assert (~mask).sum() == 5 and not mask.ravel()[:5].any()


def test_blocks_of_the_smallest_mean_go_whole(matrix):
    pattern = tfopt.Block((2, 4))
    (mask,) = masks.make_masks([matrix], pattern, [6])
    blocks = mask.reshape(8, 2, 2, 4).transpose(0, 2, 1, 3).reshape(16, 8)
    means = np.abs(matrix).reshape(8, 2, 2, 4).mean(axis=(1, 3)).ravel()
    assert set(map(tuple, np.unique(blocks, axis=0).astype(int))) <= {(0,) * 8, (1,) * 8}
    assert set(np.flatnonzero(~blocks[:, 0])) == set(np.argsort(means)[:6])


@pytest.mark.parametrize("n, m", [(2, 4), (1, 4), (3, 4), (1, 2)])
def test_n_largest_of_m_inputs_are_left(matrix, n, m):
    pattern = tfopt.NByM(n, m)
    (mask,) = masks.make_masks([matrix], pattern, [masks.count_zeros(matrix.size, pattern.sparsity)])
    groups, kept = np.abs(matrix).reshape(-1, m, 8), mask.reshape(-1, m, 8)
    assert (kept.sum(axis=1) == n).all()
    assert (np.where(kept, groups, np.inf).min(axis=1) > np.where(kept, -np.inf, groups).max(axis=1)).all()


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_masks_grow(matrix, pattern):
    """What went at a lower sparsity is gone at a higher one, where it is zero by then."""
    before = np.ones(matrix.shape, bool)
    limit = getattr(pattern, "sparsity", 0.9)
    for sparsity in np.linspace(0, limit, 7):
        value = np.where(before, matrix, 0)
        (mask,) = masks.make_masks([value], pattern, [masks.count_zeros(matrix.size // pattern.unit, sparsity)])
        assert not (mask & ~before).any()
        before = mask


def test_one_threshold_for_all(matrix):
    small, large = matrix * 0.1, matrix
    made = masks.make_masks([small, large], tfopt.Unstructured(), 128)
    both = np.concatenate([np.abs(small).ravel(), np.abs(large).ravel()])
    kept = np.concatenate([mask.ravel() for mask in made])
    assert (~kept).sum() == 128 and both[~kept].max() < both[kept].min()
    assert (~made[0]).sum() > 2 * (~made[1]).sum()


@pytest.mark.parametrize(
    "shape, inputs", [((3, 3, 4, 8), (0, 1, 2)), ((3, 3, 8, 4), (0, 1, 3)), ((8, 2, 4), (0,)), ((5, 5, 6, 1), (0, 1))]
)
def test_matrix_and_back(shape, inputs):
    array = np.arange(np.prod(shape)).reshape(shape)
    matrix = masks.to_matrix(array, inputs)
    assert matrix.shape[0] == np.prod([shape[axis] for axis in inputs])
    np.testing.assert_array_equal(masks.from_matrix(matrix, shape, inputs), array)


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
