"""`PreserveSparsity`, a callback that keeps the zeros of a pruned model while it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfopt import errors
from tfopt.keras_model.shipped import shipped_model
from tfopt.keras_model.weights import walk_weights
from tfopt.pruning.callback import PruningCallback
from tfopt.pruning.masking import Logs, MaskingCallback
from tfopt.pruning.prunable_weights import Target

if TYPE_CHECKING:
    from tfopt.keras_model.weights import Weight


class PreserveSparsity(MaskingCallback):
    """Keeps the zeros that the weights have when training begins: for fine-tuning, and for quantization after pruning.

    It applies to every weight of rank 2 and more that trains, except weights that are zero as a whole, or that are still as their
    initializer made them.

    Example:

    ```python
    model.fit(x, y, callbacks=[tfopt.PreserveSparsity()])
    ```

    Raises:
        ArgumentError: at the beginning of `fit`, if no weight has zeros to keep.
        PruningError: the zeros do not hold.
    """

    def on_train_begin(self, logs: Logs = None) -> None:
        """Selects the weights and puts masks on them."""
        if not shipped_model(self.model).built:
            raise errors.ArgumentError(
                "the model must be built, with weights that have zeros to keep. Received: a model without weights yet. Call it on "
                "a batch, or load its weights, before fit()."
            )
        self._begun = self._tried = False
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Makes the masks. It could not be done before: other callbacks restore the weights of an interrupted run."""
        if not self._begun:
            values = [target.variable.numpy() != 0 for target in self.targets]
            free = [not value.any() or target.is_untrained for target, value in zip(self.targets, values, strict=True)]
            self.set_masks([value | is_free for value, is_free in zip(values, free, strict=True)])
            self._begun = True
            if not any(self._masked):
                self.refuse()
                raise errors.ArgumentError(
                    "the model must have weights with zeros to keep. Received: a dense model. Prune it first, with "
                    "tfopt.PruningCallback or tfopt.prune."
                )

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Checks once, after the first step, that the zeros hold."""
        if not self._tried and batch > 0:
            self.verify()
            self._tried = True

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Adds the sparsity to the logs."""
        super().on_epoch_end(epoch, logs)
        if logs is not None and not self.fit_callbacks.others(PruningCallback):  # which add a sparsity of their own
            logs["sparsity"] = sum(self._masked) / sum(target.size for target in self.targets)

    def _find_targets(self) -> list[Target]:
        weights = [weight for weight in walk_weights(shipped_model(self.model)) if len(weight.variable.shape) >= 2]
        targets = [Target(weight) for weight in weights if weight.variable.trainable]
        filled = [weight.name for weight in weights if getattr(weight.layers[-1], "lora_enabled", False) and _is_sparse(weight)]
        if filled:
            raise errors.ArgumentError(
                f"zeros must stay zero in files too. Received: {', '.join(filled)} under LoRA, which fills them when the model is "
                "saved. Train these layers themselves."
            )
        return targets


def _is_sparse(weight: Weight) -> bool:
    value = weight.variable.numpy()
    return 0 < np.count_nonzero(value) < value.size
