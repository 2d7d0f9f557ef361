"""`drop_layers`: a student that is its teacher without some of the blocks that repeat."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import keras

from tfopt.errors import ArgumentError
from tfopt.keras_model.describe import describe
from tfopt.keras_model.functional_graph import Call, Graph, is_functional

if TYPE_CHECKING:
    Signature = tuple[Any, ...]  # equal for calls of layers that are alike

# Entries of a layer's configuration that differ between layers that are alike.
_NAMES = {"name", "inbound_nodes", "input_layers", "output_layers", "build_config", "module", "registered_name", "shared_object_id"}


def drop_layers(model: keras.Model, keep: float | Sequence[int] = 0.5) -> keras.Model:
    """Returns a new plain model with fewer of the blocks that repeat, such as encoder layers or residual blocks.

    Blocks are consecutive groups of calls whose layers have the same classes, configurations and shapes. Each block passes one
    tensor on to the next; further tensors, such as a mask, may go into all blocks. Layers keep their names and weights. Train the
    model afterwards, best with a `Distiller` and the old model as teacher.

    Example:

    ```python
    student = tfopt.drop_layers(teacher, keep=0.5)     # every other encoder layer
    student = tfopt.drop_layers(teacher, keep=[0, 5])  # the first and the last of six
    ```

    Args:
        model: a Functional or Sequential Keras 3 model; it is untouched.
        keep: a float between 0 and 1, by default 0.5: the fraction of the blocks of each run that stays, evenly spaced from the
            first block on, at least one block; or a list of the numbers of the blocks that stay, counted from 0 over all runs.

    Returns:
        A new model, not compiled.

    Raises:
        ArgumentError: no block repeats in the model, or `keep` is no such fraction or list; the message lists the blocks.

    Source: Sanh et al., DistilBERT, arXiv:1910.01108.
    """
    if not is_functional(model):
        what = describe(model) if hasattr(model, "name") else type(model).__name__
        raise ArgumentError(f"drop_layers needs a Functional Keras 3 model, or a built Sequential model. Received: {what}.")
    graph = Graph(model)
    runs = _find_runs(_order(graph.calls))
    if not runs:
        raise ArgumentError(f"The model must have blocks that repeat. Received: {describe(model)}, in which no block does.")
    dropped = _choose(keep, runs)
    skipped = {id(call): block for block in dropped for call in block.calls}
    unused = {id(call.layer) for call in graph.calls if id(call) in skipped}
    unused -= {id(call.layer) for call in graph.calls if id(call) not in skipped}
    now: dict[int, keras.KerasTensor] = {}  # id of the tensor that enters a dropped block -> the same tensor in the new model

    def make(layer: keras.Operation) -> keras.Operation | None:
        return keras.layers.Identity() if id(layer) in unused else None  # the Identity is not called

    def call(each: Call, layer: keras.Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        block = skipped.get(id(each))
        if block is None:
            return layer(*args, **kwargs)
        old, new = (keras.tree.flatten(values) for values in ((each.args, each.kwargs), (args, kwargs)))
        now.update({id(one): other for one, other in zip(old, new, strict=True) if one is block.incoming})
        return keras.tree.map_structure(
            lambda tensor: now[id(block.incoming)] if tensor is block.outgoing else tensor, each.outputs
        )

    return graph.replay(make, call=call)


@dataclasses.dataclass(frozen=True)
class _Block:
    """Calls that repeat, the tensor that enters them from the block before, and the tensor that leaves them."""

    calls: Sequence[Call]
    incoming: keras.KerasTensor
    outgoing: keras.KerasTensor


def _choose(keep: object, runs: Sequence[Sequence[_Block]]) -> list[_Block]:
    """The blocks that are dropped."""
    blocks = [block for run in runs for block in run]
    listed = "; ".join(f"{number}: {_text(block)}" for number, block in enumerate(blocks))
    if isinstance(keep, float) and 0 < keep < 1:
        kept: list[_Block] = []
        for run in runs:
            count = max(1, round(keep * len(run)))
            kept += [run[index * len(run) // count] for index in range(count)]
    elif isinstance(keep, list | tuple) and all(type(each) is int and 0 <= each < len(blocks) for each in keep) and keep:
        kept = [blocks[index] for index in keep]
    else:
        raise ArgumentError(
            f"`keep` must be a float between 0 and 1, or a list of numbers from 0 to {len(blocks) - 1}. Received: {keep!r}. The "
            f"blocks are {listed}."
        )
    dropped = [block for block in blocks if not any(block is each for each in kept)]
    if not dropped:
        raise ArgumentError(f"`keep` must leave blocks out. Received: {keep!r}, which keeps all of {listed}.")
    return dropped


def _text(block: _Block) -> str:
    """The first and the last layer of a block."""
    names = [call.layer.name for call in block.calls]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _order(calls: Sequence[Call]) -> list[Call]:
    """The calls in another valid order: a call that no other one is like, and so is in no block, comes as early as it can.

    Keras sorts by the distance to the outputs, so that the calls that prepare a mask for the head lie next to the last block.
    """
    signatures = [_signature(call) for call in calls]
    waiting = sorted(zip(calls, signatures, strict=True), key=lambda pair: signatures.count(pair[1]) > 1)
    makers = {id(tensor) for call in calls for tensor in keras.tree.flatten(call.outputs)}
    ordered: list[Call] = []
    made: set[int] = set()
    while waiting:
        is_ready = (all(id(tensor) in made or id(tensor) not in makers for tensor in call.inputs) for call, _ in waiting)
        call, _ = waiting.pop(next(index for index, ready in enumerate(is_ready) if ready))
        made.update(id(tensor) for tensor in keras.tree.flatten(call.outputs))
        ordered.append(call)
    return ordered


def _find_runs(calls: Sequence[Call]) -> list[list[_Block]]:
    """The runs of blocks, in the order of the model. Of runs that overlap, the one that covers most calls is found."""
    signatures = [_signature(call) for call in calls]
    free = [True] * len(calls)
    runs: list[tuple[int, list[_Block]]] = []
    while True:
        best: tuple[int, int, int, list[_Block]] | None = None
        for period in range(1, len(calls) // 2 + 1):
            for start in range(len(calls) - 2 * period + 1):
                run = _run_at(calls, signatures, free, start, period)
                # Of equal runs the one with the shortest blocks, and of these the last to begin: a layer before the first block,
                # such as a normalization, may look like the end of a block.
                if run and (best is None or (len(run) * period, -period) >= best[:2]):
                    best = len(run) * period, -period, start, run
        if best is None:
            return [run for _, run in sorted(runs, key=lambda pair: pair[0])]
        length, _, start, run = best
        free[start : start + length] = [False] * length
        runs.append((start, run))


def _run_at(
    calls: Sequence[Call], signatures: Sequence[Signature], free: Sequence[bool], start: int, period: int
) -> list[_Block] | None:
    """The longest run of blocks of `period` calls that begins at `start`, or None."""
    count = 1
    while True:
        first = start + count * period
        same = signatures[first : first + period] == signatures[start : start + period] and first + period <= len(calls)
        if not same or not all(free[start : first + period]):
            break
        count += 1
    for length in range(count, 1, -1):
        run = _connect(calls, start, period, length)
        if run:
            return run
    return None


def _connect(calls: Sequence[Call], start: int, period: int, count: int) -> list[_Block] | None:
    """The blocks, if each of them takes one tensor from the block before and passes one on; else None."""
    parts = [calls[start + index * period : start + (index + 1) * period] for index in range(count)]
    made = [{id(tensor): place for place, tensor in enumerate(_outputs(part))} for part in parts]
    patterns: list[list[int | None]] = []
    incoming: list[dict[int, keras.KerasTensor]] = []
    common: set[int] = set()
    for part, own in zip(parts, made, strict=True):
        taken = [tensor for call in part for tensor in call.inputs]
        patterns.append([own.get(id(tensor)) for tensor in taken])
        outside = {id(tensor): tensor for tensor in taken if id(tensor) not in own}
        common = common & set(outside) if incoming else set(outside)
        incoming.append(outside)
    if any(pattern != patterns[0] for pattern in patterns):
        return None
    trunks = []
    for outside in incoming:
        rest = [tensor for name, tensor in outside.items() if name not in common]
        if len(rest) != 1:
            return None
        trunks.append(rest[0])
    places = {made[index].get(id(trunks[index + 1])) for index in range(count - 1)}
    if len(places) != 1:
        return None
    (place,) = places
    if place is None:
        return None
    trunks.append(_outputs(parts[-1])[place])
    inside = {id(call) for part in parts for call in part}
    shapes = {(tuple(tensor.shape), tensor.dtype) for tensor in trunks}
    for index, part in enumerate(parts):
        inner = {id(call) for call in part}
        private = {name for name in made[index] if name != id(trunks[index + 1])}
        users = (call for call in calls if id(call) not in inner)
        if any(id(tensor) in private for call in users for tensor in call.inputs):
            return None
    # Only the next block may use a tensor between two blocks; otherwise the output of a dropped block would be used elsewhere.
    between = {id(tensor) for tensor in trunks[1:-1]}
    others = (call for call in calls if id(call) not in inside)
    if len(shapes) != 1 or any(id(tensor) in between for call in others for tensor in call.inputs):
        return None
    return [_Block(part, *trunks[index : index + 2]) for index, part in enumerate(parts)]


def _outputs(part: Iterable[Call]) -> list[keras.KerasTensor]:
    return [tensor for call in part for tensor in keras.tree.flatten(call.outputs)]


def _signature(call: Call) -> Signature:
    layer = call.layer
    shapes = [tuple(weight.shape) for weight in getattr(layer, "weights", ())]
    config = layer.get_config() if hasattr(layer, "weights") else {}
    arguments = [value for value in keras.tree.flatten((call.args, call.kwargs)) if not isinstance(value, keras.KerasTensor)]
    inputs = [(tuple(tensor.shape), str(tensor.dtype)) for tensor in call.inputs]
    return type(layer).__name__, shapes, inputs, repr(arguments), json.dumps(_without_names(config), sort_keys=True, default=str)


def _without_names(value: Any) -> Any:
    """A configuration without the entries that differ between layers that are alike."""
    if isinstance(value, dict):
        return {key: _without_names(each) for key, each in value.items() if key not in _NAMES}
    return [_without_names(each) for each in value] if isinstance(value, list | tuple) else value
