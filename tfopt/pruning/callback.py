"""`PruningCallback`, which prunes on a schedule during `fit`, and `PreserveSparsity`, which keeps zeros that are there."""

import keras
import numpy as np

from tfopt import errors
from tfopt.keras_model.walk import shipped_model
from tfopt.pruning import masks, options
from tfopt.pruning.masking import MaskingCallback, warn
from tfopt.pruning.prunable_weights import find_targets


class PruningCallback(MaskingCallback):
    """Prunes a Keras 3 model, or the student of a `Distiller`, while it trains: the smallest weights become zero, and stay zero.

    At each update, `size - max(1, round(size (1 - sparsity)))` weights of every tensor (or of all together) are zero,
    and the optimizer holds them there in its compiled step. The model needs no wrapper and no strip: it stays the Keras model that
    it was, and so do its files.
    Zeros that are there at the beginning stay as well, so that a second `fit` never falls behind the first.

    Example:

    ```python
    model.fit(x, y, epochs=10, callbacks=[tfopt.PruningCallback(tfopt.PolynomialDecay(final_sparsity=0.8))])
    print(tfopt.sparsity_report(model))
    ```

    `logs["sparsity"]` is the share of zeros in the pruned weights at the end of each epoch: in History, TensorBoard, CSVLogger.
    `EarlyStopping` and a `ModelCheckpoint` that keeps the best model wait until the final sparsity is reached.
    A run that an exception or Ctrl-C breaks off leaves the zeros held, until the next `fit` with such a callback.

    Args:
        schedule: `ConstantSparsity` or `PolynomialDecay`. Steps are `optimizer.iterations`, so a resumed run goes on where it was;
            with `initial_epoch`, too, the run counts as one that began with epoch 0, unless the optimizer has made no step yet.
        pattern: `Unstructured()`, `Block((rows, columns))` or `NByM(n, m)`. Weights that it does not fit are left out, and listed
            in `skipped`; if they were asked for, that is an error.
        scope: "layer": each tensor reaches the sparsity. "global": all together do, by one threshold for all.
        include, exclude: None, or one or a list of: a glob of a layer's name or path (`encoder/dense_*`), a layer class, a function
            of a layer that returns a bool. One that matches nothing is an error. By default the kernels of Dense, EinsumDense,
            Conv and its transposes, SeparableConv, MultiHeadAttention, LSTM and GRU are pruned, wherever they sit; what is
            included is pruned with all its weights of rank 2 and more, embeddings, depthwise kernels and output layer too.
        frequency: optimizer steps between two updates, an int above 0; None: 50 updates between the schedule's begin and end.

    Attributes:
        skipped: dict of weight name -> why it is not pruned, once training has begun.

    Raises:
        ArgumentError: a wrong argument; at the beginning of `fit`, if a selector matches nothing or nothing can be pruned.
        PruningError: the schedule does not fit the run, the zeros do not hold, or the sparsity was missed at the end.

    References:
        Zhu and Gupta, To prune, or not to prune, arXiv:1710.01878. Han et al., arXiv:1506.02626.
    """

    def __init__(self, schedule, *, pattern=masks.Unstructured(), scope="layer", include=None, exclude=None, frequency=None):
        super().__init__()
        options.check_schedule(schedule, pattern, scope, frequency)
        self.schedule = schedule
        self.pattern = pattern
        self.scope = scope
        self.include = include
        self.exclude = exclude
        self.frequency = frequency
        self.skipped = {}
        self._run = None  # the schedule in optimizer steps, once the run's place is known

    def on_train_begin(self, logs=None):
        """Selects the weights and puts masks on them."""
        if getattr(self.model, "optimizer", None) is None:
            raise errors.PruningError(
                "the model must be compiled with an optimizer, whose steps place the schedule. Received: none."
            )
        self._run = None
        self._done = None  # step of the schedule that the masks are of
        self._since = 0  # the optimizer's step when they were made
        self._units = None
        self._calls_to_skip = 0
        self._tried = False  # whether zeros were seen to hold after a step
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch, logs=None):
        """Places the schedule: only now other callbacks have restored weights, step and epoch of an interrupted run."""
        if self._run is None:
            self._place(epoch)
        self._update()
        self._calls_to_skip = 0

    def on_train_batch_begin(self, batch, logs=None):
        """Updates the masks, if that is due."""
        if self._run is None:
            self._place(0)  # a loop of one's own that has no epochs
        if self._calls_to_skip > 0:  # no look at the device, which would have to wait for its last step
            self._calls_to_skip -= 1
            return
        if not self._tried and any(self._masked) and self._step() > self._since:
            self.verify()
            self._tried = True
        step = self._update()
        if self.targets and (self._tried or not any(self._masked)):
            stride = max(1, self.model.steps_per_execution or 1)
            self._calls_to_skip = max(0, -(-(self._next_update(step) - step) // stride) - 1)

    def on_test_begin(self, logs=None):
        """What is evaluated has the sparsity that is due by now."""
        if self._run is not None:
            self._update()

    def on_epoch_end(self, epoch, logs=None):
        """Adds the sparsity to the logs."""
        step = self._update()
        if step == self._stuck_at and step < self._run.end:
            self.refuse()
            raise errors.PruningError(
                "the schedule counts the steps of `model.optimizer`. Received: "
                f"{self.model.optimizer.name}, which made no step in an epoch. Give compile() the optimizer that trains the pruned "
                "layers, or use tfopt.ConstantSparsity(sparsity, begin=0), which needs no steps."
            )
        super().on_epoch_end(epoch, logs)
        if logs is not None:
            every = [self, *self.others(PruningCallback)]
            zeros = sum(sum(callback.zeros()) for callback in every)
            logs["sparsity"] = zeros / sum(target.size for callback in every for target in callback.targets)
        if step >= self._run.end and not self._finished:
            self._finished = True
            for checkpoint, best in self._checkpoints:
                checkpoint.best = best  # models that were not pruned to the end do not compete

    def close(self):
        """Compares the sparsity with the target."""
        try:
            step = self._update() if self._run is not None else 0
        finally:
            for waiting in self.others(_Waiting):
                waiting.prunings = [each for each in waiting.prunings if each is not self]
            self.replace_others(_Waiting, lambda waiting: waiting if waiting.prunings else waiting.callback)
            super().close()
        if self._run is not None:
            self._check_target(step)

    def _find_targets(self):
        plan, model = options.as_plan(self.schedule.final), shipped_model(self.model)
        targets, self.skipped = find_targets(model, self.pattern, self.include, self.exclude, plan=plan, frozen=False)
        for other in filter(self.runs_with, self.others(PruningCallback)):
            both = {target.name for target in targets if any(target.variable is each.variable for each in other.targets)}
            if both:
                raise errors.ArgumentError(
                    f"a weight must be pruned by one PruningCallback. Received: two for {', '.join(sorted(both))}. Divide the "
                    "layers between them with include and exclude; to prune layers by different shares, give one schedule a plan."
                )
        return targets

    def _place(self, epoch):
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        batches = optimizer.gradient_accumulation_steps or 1  # of one optimizer step
        # After an epoch the step is another one, unless batches are collected, or left out by a loss scale.
        self._stuck_at = self._step() if batches == 1 and optimizer is self.model.optimizer else None
        params = self.params or {}  # none in a loop of one's own
        try:
            start, total = options.span(self._step(), epoch, params.get("epochs"), params.get("steps"), batches)
            self._run, self._frequency = options.place(self.schedule, self.frequency, start, total)
        except errors.TfoptError:
            self.refuse()
            raise
        self._finished = self._step() >= self._run.end
        self._checkpoints = [(each, each.best) for each in self.others(keras.callbacks.ModelCheckpoint) if each.save_best_only]
        for waiting in self.others(_Waiting):
            waiting.prunings.append(self)
        self.replace_others(keras.callbacks.EarlyStopping, lambda callback: _Waiting(callback, self))

    @property
    def finished(self):
        """Whether the final sparsity was reached at the end of an epoch."""
        return self._finished

    def _step(self):
        return int(self.model.optimizer.iterations.numpy())

    def _update(self):
        """Makes the masks that are due at the optimizer's step, which is returned."""
        step = self._step()
        begin, end = self._run.begin, self._run.end
        if self.install() and self._units is None:
            self._units = [target.size // self.pattern.unit for target in self.targets]
            # Zeros that are there stay; but a tensor of zeros alone has just not been trained.
            lowest = [int(np.count_nonzero(self.pattern.scores(target.matrix()) == 0)) for target in self.targets]
            self._floors = [0 if count == units else count for count, units in zip(lowest, self._units, strict=True)]
            self._counts_done = 0 if self.scope == "global" else [0] * len(self.targets)
            self._make_masks(None)
        if self._units and step >= begin:
            due = end if step >= end else begin + (step - begin) // self._frequency * self._frequency
            if due != self._done:
                self._make_masks(due)
                self._done = due
        return step

    def _next_update(self, step):
        begin, end = self._run.begin, self._run.end
        if step < begin:
            return begin
        if step >= end:
            return step + 1_000_000
        return min(end, begin + ((step - begin) // self._frequency + 1) * self._frequency)

    def _make_masks(self, step):
        wanted = self._wanted(step)
        if wanted == self._counts_done:
            return
        if any(self._masked):
            self.verify()
        matrices = [target.matrix() for target in self.targets]
        if any(self._masked):  # zeros that no mask holds come after those that one holds, which stay
            for target, mask, matrix in zip(self.targets, self._masks, matrices, strict=True):
                kept = masks.to_matrix(mask.numpy(), target.inputs)
                matrix[kept & (matrix == 0)] = np.finfo("float32").tiny
        made = masks.make_masks(matrices, self.pattern, wanted)
        self.set_masks([target.unmatrix(mask) for target, mask in zip(self.targets, made, strict=True)])
        self._counts_done = wanted
        self._since = self._step()
        empty = [target.name for target, count in zip(self.targets, self._masked, strict=True) if count == target.size]
        if empty:
            warn(f"pruning removed every weight of {', '.join(empty)}. Exclude them, or choose scope='layer' or a lower sparsity.")

    def _wanted(self, step):
        """Units to remove at a step: of each target, or of all together. None: before pruning."""
        if self.scope == "global":
            sparsity = 0.0 if step is None else self._run(step)
            return max(masks.count_zeros(sum(self._units), sparsity), sum(self._floors))
        wanted = []
        for target, units, floor in zip(self.targets, self._units, self._floors, strict=True):
            sparsity = 0.0 if step is None else self._run.of(target.layer_name)(step)
            wanted.append(max(masks.count_zeros(units, sparsity), floor))
        return wanted

    def _check_target(self, step):
        wanted, zeros = self._wanted(self._run.end), self.zeros()
        pairs = [("all pruned weights together", sum(zeros), wanted, sum(self._units))]
        if self.scope == "layer":
            names = [target.name for target in self.targets]
            pairs = list(zip(names, zeros, wanted, self._units, strict=True))
        unit = self.pattern.unit
        missed = [
            f"{name} {count / (units * unit):.2%} of {due / units:.2%}"
            for name, count, due, units in pairs
            if count < (due - 1) * unit
        ]
        if missed:
            reason = f"training ended at optimizer step {step:,}, the schedule ends at {self._run.end:,}"
            if step >= self._run.end:
                reason = "the weights were changed after the last step"
            raise errors.PruningError(
                f"the sparsity must be reached at the end of training. Received: {', '.join(missed)}: {reason}. Train longer, or "
                "let the schedule end earlier."
            )


class _Waiting(keras.callbacks.Callback):
    """Stands for another callback of the run, which sees the ends of epochs only once pruning is over."""

    def __init__(self, callback, pruning):
        super().__init__()
        for name in dir(callback):
            if name.startswith("on_") and name != "on_epoch_end":
                setattr(self, name, getattr(callback, name))
        self.callback = callback
        self.prunings = [pruning]

    def on_epoch_end(self, epoch, logs=None):
        if all(pruning.finished for pruning in self.prunings):
            self.callback.on_epoch_end(epoch, logs)
