"""`PruningCallback`, which prunes a Keras 3 model on a schedule during `fit`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import keras
import numpy as np

from tfopt import errors
from tfopt.keras_model.shipped import shipped_model
from tfopt.keras_model.training import backup
from tfopt.pruning import masks, options, timetable
from tfopt.pruning.counts import ZeroCounts
from tfopt.pruning.fit_callbacks import HeldBack
from tfopt.pruning.masking import Logs, MaskingCallback
from tfopt.pruning.prunable_weights import Target, find_targets

if TYPE_CHECKING:
    from tfopt.keras_model.select import Selectors
    from tfopt.pruning.schedules import Schedule


class PruningCallback(MaskingCallback):
    """Prunes a Keras 3 model, or the student of a `Distiller`, while it trains: the smallest weights become zero and stay zero.

    At each update, `size - max(1, round(size (1 - sparsity)))` weights of every tensor (or of all tensors together) are zero, and
    the optimizer keeps them zero in its compiled step. The model gets no wrapper and needs no strip: it remains the same Keras
    model, and its files are plain.
    Weights that are zero at the beginning stay zero as well, so a second `fit` never has a lower sparsity than the first; a warning
    names weights with more zeros than the schedule asks for. Zeros of a weight that its initializer made, such as an identity, and
    that was never trained, count for nothing.

    Example:

    ```python
    model.fit(x, y, epochs=10, callbacks=[tfopt.PruningCallback(tfopt.PolynomialDecay(final_sparsity=0.8))])
    print(tfopt.sparsity_report(model))
    ```

    `logs["sparsity"]` is the share of zeros in the pruned weights at the end of each epoch, in History, TensorBoard and CSVLogger.
    `EarlyStopping`, and a `ModelCheckpoint` that keeps the best model, wait until the final sparsity is reached.
    After a run that an exception or Ctrl-C ended, the zeros are held until the next `fit` with such a callback.

    Args:
        schedule: `ConstantSparsity` or `PolynomialDecay`. Its steps are `optimizer.iterations`, so a resumed run continues where it
            was. A run with `initial_epoch` counts as one that began with epoch 0, unless the optimizer has made no step yet.
        pattern: `Unstructured()`, `Block((rows, columns))` or `NByM(n, m)`. Weights that the pattern does not fit are not pruned
            and are listed in `skipped`; it is an error if they were included.
        scope: "layer": each tensor reaches the sparsity. "global": all tensors together reach it, by one threshold.
        include, exclude: None, or one or a list of: a glob of a layer's name or path (`encoder/dense_*`), a layer class, a function
            of a layer that returns a bool. A selector that matches nothing is an error. By default the kernels of Dense,
            EinsumDense, Conv and its transposes, SeparableConv, MultiHeadAttention, LSTM and GRU are pruned, however nested, but
            not the output layer. Included layers are pruned with all their weights of rank 2 and more: embeddings, depthwise
            kernels and the output layer too.
        frequency: optimizer steps between two updates, above 0; None: 50 updates between the begin and the end of the schedule.

    Attributes:
        skipped: name of a weight -> why it is not pruned, once training has begun.

    Raises:
        ArgumentError: a wrong argument; at the beginning of `fit`, if a selector matches nothing or no weight can be pruned.
        PruningError: the schedule does not fit the run, the zeros do not hold, or the sparsity is missed at the end.

    References:
        Zhu and Gupta, To prune, or not to prune, arXiv:1710.01878. Han et al., arXiv:1506.02626.
    """

    skipped: dict[str, str]
    _timetable: timetable.Timetable  # of the run, once it is placed
    _held_back: HeldBack  # the same
    _begun: timetable.Begun  # the same
    _counts: ZeroCounts | None

    def __init__(
        self,
        schedule: Schedule,
        *,
        pattern: masks.Pattern = masks.Unstructured(),
        scope: options.Scope = "layer",
        include: Selectors = None,
        exclude: Selectors = None,
        frequency: int | None = None,
    ) -> None:
        super().__init__()
        options.check_schedule(schedule, pattern, scope, frequency)
        self.schedule = schedule
        self.pattern = pattern
        self.scope = scope
        self.include = include
        self.exclude = exclude
        self.frequency = frequency
        self.skipped = {}
        self._placed = False
        self._finished = False

    @property
    def finished(self) -> bool:
        """Whether the final sparsity was reached at the end of an epoch."""
        return self._finished

    def on_train_begin(self, logs: Logs = None) -> None:
        """Selects the weights and puts masks on them."""
        self.require_model()
        if getattr(self.model, "optimizer", None) is None:
            raise errors.PruningError(
                "the model must be compiled with an optimizer, whose steps place the schedule. Received: a model without an "
                "optimizer."
            )
        self._placed = False
        self._counts = None
        self._counts_done: list[int] | int = 0  # the counts of the masks
        self._update_done: int | None = None  # the step of the last update
        self._made_at = 0  # the step of the optimizer when the masks were made
        self._began_at = self._step()
        self._calls_to_skip = 0
        self._tried = False  # whether zeros were seen to hold after a step
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Places the schedule. It could not be done before: other callbacks restore weights and step of an interrupted run."""
        if not self._placed:
            self._place(epoch)
        try:
            timetable.require_length(self.params or {}, self._begun, epoch, self._step())
        except errors.PruningError:
            self.refuse()
            raise
        self._update()
        self._calls_to_skip = 0

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Updates the masks if an update is due."""
        if not self._placed:
            self._place(0)  # a loop of the caller's own that has no epochs
        if self._calls_to_skip > 0:  # asking the device for its step would wait for the step
            self._calls_to_skip -= 1
            return
        if not self._tried and any(self._masked) and self._step() > self._made_at:
            self.verify()
            self._tried = True
        step = self._update()
        if self.targets and (self._tried or not any(self._masked)):
            self._calls_to_skip = self._calls_before_the_next_update(step)

    def on_test_begin(self, logs: Logs = None) -> None:
        """Updates the masks, so that the evaluated model has the sparsity that is due."""
        if self._placed:
            self._update()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Adds the sparsity to the logs."""
        self._require_beginning()
        step = self._update()
        if step == self._stuck_at and step < self._timetable.end:
            self.refuse()
            raise errors.PruningError(
                "the schedule counts the steps of `model.optimizer`. Received: "
                f"{self.model.optimizer.name}, which made no step in an epoch. Give compile() the optimizer that trains the pruned "
                "layers, or use tfopt.ConstantSparsity(sparsity, begin=0), which needs no steps."
            )
        super().on_epoch_end(epoch, logs)
        if logs is not None:
            every = [self, *self.fit_callbacks.others(PruningCallback)]
            zeros = sum(sum(callback.zeros()) for callback in every)
            logs["sparsity"] = zeros / sum(target.size for callback in every for target in callback.targets)
        if step >= self._timetable.end and not self._finished:
            self._finished = True
            self._held_back.start()

    def close(self) -> None:
        """Compares the sparsity with the target."""
        try:
            step = self._update() if self._placed else 0
        finally:
            if self._placed:
                self._held_back.release()
            super().close()
        if not self.fit_callbacks.others(keras.callbacks.BackupAndRestore):  # which restores a run that was at its end
            self._require_beginning()
        if self._placed and self._counts is not None:
            self._check_target(self._counts, step)

    def _require_beginning(self) -> None:
        """Raises `PruningError` if the model trains, and a loop of the caller's own calls no hook before the steps."""
        if not self._placed and self._step() != self._began_at:
            self.refuse()
            raise errors.PruningError(
                "the callback must be called before the steps that it prunes in. Received: a loop without on_epoch_begin and "
                "on_train_batch_begin, in which nothing was pruned. Call callbacks.on_epoch_begin(epoch) and "
                "callbacks.on_train_batch_begin(step), or one of the two."
            )

    def _find_targets(self) -> list[Target]:
        plan, model = options.as_plan(self.schedule.final), shipped_model(self.model)
        targets, self.skipped = find_targets(model, self.pattern, self.include, self.exclude, plan=plan, frozen=False)
        for other in filter(self.runs_with, self.fit_callbacks.others(PruningCallback)):
            both = {target.name for target in targets if any(target.variable is each.variable for each in other.targets)}
            if both:
                raise errors.ArgumentError(
                    f"a weight must be pruned by one PruningCallback. Received: two for {', '.join(sorted(both))}. Divide the "
                    "layers between them with include and exclude; to prune layers by different shares, give one schedule a plan."
                )
        return targets

    def _place(self, epoch: int) -> None:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        accumulated = optimizer.gradient_accumulation_steps or 1
        # After an epoch the step is another one, unless batches are accumulated, or left out by a loss scale.
        self._stuck_at = self._step() if accumulated == 1 and optimizer is self.model.optimizer else None
        params = self.params or {}  # None in a loop of the caller's own
        self._begun = timetable.Begun(epoch, self._step(), accumulated)
        if epoch > 0 and self._step() > 0:
            backup.tell_of_new_generators(self.model, epoch)
        try:
            run = timetable.run_of(self._step(), epoch, params.get("epochs"), params.get("steps"), accumulated)
            self._timetable = timetable.place(self.schedule, self.frequency, *run)
        except errors.TfoptError:
            self.refuse()
            raise
        self._finished = self._step() >= self._timetable.end
        self._held_back = HeldBack(self.fit_callbacks, self)
        self._placed = True

    def _step(self) -> int:
        return int(self.model.optimizer.iterations.numpy())

    def _calls_before_the_next_update(self, step: int) -> int:
        """How many calls of `on_train_batch_begin` come before the next update."""
        following = self._timetable.following(step)
        if following is None:
            return 1_000_000
        stride = max(1, self.model.steps_per_execution or 1)
        return max(0, -(-(following - step) // stride) - 1)

    def _update(self) -> int:
        """Makes the masks that are due at the step of the optimizer, and returns this step."""
        step = self._step()
        if self.install():
            if self._counts is None:
                self._counts = ZeroCounts(self.targets, self.pattern, self.scope)
                self._counts_done = self._counts.none
                self._make_masks(self._counts.initial)
                self._tell_of_zeros(self._counts)
            due = self._timetable.due(step)
            if due is not None and due != self._update_done:
                self._make_masks(self._counts.at(self._timetable.schedule, due))
                self._update_done = due
        return step

    def _tell_of_zeros(self, counts: ZeroCounts) -> None:
        more = counts.exceeding(self._timetable.schedule)
        if more:
            warnings.warn(
                "zeros that the weights have at the beginning stay, and there are more than the schedule asks for: "
                f"{', '.join(more)}. Exclude these weights if the zeros do not come from an earlier pruning.",
                stacklevel=2,
            )

    def _make_masks(self, counts: list[int] | int) -> None:
        if counts == self._counts_done:
            return
        if any(self._masked):
            self.verify()
        matrices = [target.matrix() for target in self.targets]
        if any(self._masked):  # a zero under a mask stays; zeros of weights that no mask holds are removed after it
            for target, mask, matrix in zip(self.targets, self._masks, matrices, strict=True):
                kept = masks.to_matrix(mask.numpy(), target.inputs)
                matrix[kept & (matrix == 0)] = np.finfo("float32").tiny
        made = masks.make_masks(matrices, self.pattern, counts)
        self.set_masks([target.unmatrix(mask) for target, mask in zip(self.targets, made, strict=True)])
        self._counts_done = counts
        self._made_at = self._step()
        empty = [target.name for target, count in zip(self.targets, self._masked, strict=True) if count == target.size]
        if empty:
            warnings.warn(
                f"pruning removed every weight of {', '.join(empty)}. Exclude them, or choose scope='layer' or a lower sparsity.",
                stacklevel=2,
            )

    def _check_target(self, counts: ZeroCounts, step: int) -> None:
        missed = counts.missed(self._timetable.schedule, self.zeros())
        if missed:
            end = self._timetable.end
            reason = f"training ended at optimizer step {step:,}, the schedule ends at {end:,}"
            if step >= end:
                reason = "the weights were changed after the last step"
            raise errors.PruningError(
                f"the sparsity must be reached at the end of training. Received: {', '.join(missed)}: {reason}. Train longer, or "
                "let the schedule end earlier."
            )
