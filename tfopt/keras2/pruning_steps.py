"""The schedule of tfopt in tfmot's terms: a table of optimizer steps, and the check at the end of a run."""

import dataclasses

import numpy as np

from tfopt import errors
from tfopt.pruning import masks, options, schedules


def check_schedule(schedule, pattern):
    """Raises unless tfmot can bring about the pattern on this schedule."""
    if isinstance(pattern, masks.NByM) and not (isinstance(schedule, schedules.ConstantSparsity) and schedule.begin == 0):
        raise errors.ArgumentError(
            f"tfmot makes {pattern} at the first step and not bit by bit. Received: schedule={schedule!r}. Give "
            f"tfopt.ConstantSparsity({pattern.sparsity:g})."
        )


def tfmot_options(pattern):
    """The arguments of `prune_low_magnitude` for a pattern."""
    if isinstance(pattern, masks.Block):
        return {"block_size": pattern.shape}
    if isinstance(pattern, masks.NByM):
        return {"sparsity_m_by_n": (pattern.m - pattern.n, pattern.m)}  # how many of m are zero
    return {}


@dataclasses.dataclass(frozen=True)
class Run:
    """A schedule of one layer in the steps of a run."""

    schedule: object  # its positions are steps
    steps: tuple  # optimizer steps at which masks are made, ascending
    sparsities: tuple  # at these steps, in [0, 1)


def place(schedule, frequency, start, total, now, lowest):
    """The run of a schedule.

    Args:
        schedule: `ConstantSparsity` or `PolynomialDecay` of one layer.
        frequency: None or int, optimizer steps.
        start: int, the optimizer step at which the run began; before `now` if it is resumed.
        total: None or int, steps of the run.
        now: int, the optimizer step.
        lowest: float, the sparsity that the layer has already.

    Raises:
        PruningError: the schedule ends after the run.
    """
    run, stride = options.place(schedule, frequency, start, total)
    # Of updates that lie behind, the last one is due at once.
    table = {max(step, now): max(run(step), lowest) for step in (*range(run.begin, run.end, stride), run.end)}
    if lowest and now < run.begin:
        table = {now: lowest, **table}  # zeros stay before the schedule begins too
    return Run(run, tuple(table), tuple(table.values()))


def least_sparsity(wrapper):
    """The least sparsity of the weights of a wrapped layer; a weight of zeros alone has just not been trained."""
    shares = [np.mean(_scores(wrapper, weight) == 0) for weight, *_ in wrapper.pruning_vars]
    return float(min(0.0 if share == 1 else share for share in shares))


def check_target(wrappers, step):
    """Raises unless the weights of wrapped layers have the sparsity that is due at the end of a run.

    Args:
        wrappers: list of layers of tfmot, whose schedules have a `Run`.
        step: int, the optimizer's step.
    """
    missed, end = [], 0
    for wrapper in wrappers:
        run = wrapper.pruning_schedule.run
        end = max(end, run.schedule.end)
        for weight, *_ in wrapper.pruning_vars:
            scores = _scores(wrapper, weight)
            zeros, due = int(np.sum(scores == 0)), masks.count_zeros(len(scores), run.sparsities[-1])
            if zeros < due - 1 - len(scores) * 2**-22:  # tfmot computes in float32
                missed.append(f"{weight.name.partition(':')[0]} {zeros / len(scores):.2%} of {due / len(scores):.2%}")
    if missed:
        reason = f"training ended at optimizer step {step:,}, the schedule ends at {end:,}"
        if step >= end:
            reason = "weights changed after the last step, or are equal in magnitude, of which tfmot keeps all"
        raise errors.PruningError(
            f"the sparsity must be reached at the end of training. Received: {', '.join(missed)}: {reason}. Train longer, or "
            "let the schedule end earlier."
        )


def _scores(wrapper, weight):
    """Magnitudes of the units of a weight that tfmot keeps or removes as a whole."""
    block = tuple(wrapper.block_size)
    pattern = masks.Unstructured() if block == (1, 1) else masks.Block(block)
    value = np.asarray(weight.numpy()).astype("float32")
    return pattern.scores(value.reshape(-1, value.shape[-1]))
