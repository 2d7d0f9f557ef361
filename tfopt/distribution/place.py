"""`place()`: spreads the layers of a Functional model over several devices when one device cannot hold all of them."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras

from tfopt.errors import ArgumentError
from tfopt.keras_model import functional_graph
from tfopt.keras_model.requirements import require_built

if TYPE_CHECKING:
    import tensorflow as tf

Layers = str | Sequence[str] | tuple[str, str]
"""The layers of a device: a name, a list of names and globs, or a tuple of the first and the last layer."""


def place(model: keras.Model, devices: Mapping[str, Layers]) -> keras.Model:
    """Makes a new model with the same weights, outputs and gradients whose layers run and keep their weights on given devices.

    Example:

    ```python
    split = tfopt.place(model, {"/gpu:0": ("embedding", "block_11"), "/gpu:1": ("block_12", "head")})
    split.compile("adam", "mse")
    split.fit(x, y)
    ```

    It saves memory on each device. It does not speed up training: one device computes while the others wait, as there is no
    pipelining and a batch is not divided. If a model fits on one device, give each device a part of the batch instead, with
    `tfopt.strategy("mirrored")`. Model files do not store devices: a saved model loads as any other, and can be placed again.

    Args:
        model: built Keras 3 model, Functional or Sequential.
        devices: name of a device, such as "/gpu:0" or "/cpu:1" -> its layers: a tuple of two names, (first, last), selects both
            layers and all layers between them in `model.layers`; a list selects by names and globs. Each layer except the
            inputs must have one device. Nested models are placed as a whole; operations such as `x + y` run on the device of
            their first input.

    Returns:
        A Keras model of the same name and layer names, not compiled.

    Raises:
        ArgumentError: a device does not exist, a name matches no layer, a layer has no device or has two, or the calls of the
            model cannot be listed.
    """
    import tensorflow as tf

    require_built(model)
    if not functional_graph.is_functional(model):
        raise ArgumentError(
            "`model` must be a Functional or Sequential Keras 3 model, whose calls can be listed. Received: "
            f"{type(model).__name__}. Use `with tf.device(...)` in its `call` instead."
        )
    if tf.distribute.has_strategy() and tf.distribute.get_strategy().num_replicas_in_sync > 1:
        raise ArgumentError(
            "place() must be called outside of the scope of a strategy with several replicas. Received: a call in the scope of "
            f"{type(tf.distribute.get_strategy()).__name__}, which copies the whole model to each device. Choose one of them."
        )
    wanted = _assign(model, devices)
    graph = functional_graph.Graph(model)
    where: dict[int, str | None] = {}  # id of a tensor -> its device

    def device_of(each: functional_graph.Call) -> str | None:
        layer = each.layer
        if isinstance(layer, keras.layers.Layer):
            device = wanted.get(layer.name)
        else:
            device = next((where.get(id(tensor)) for tensor in each.inputs), None)
        where.update((id(tensor), device) for tensor in keras.tree.flatten(each.outputs))
        return device

    def call(each: functional_graph.Call, layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        outputs = layer(*args, **kwargs)
        _compute_on(layer, device_of(each))
        return outputs

    return graph.replay(lambda layer: None, call=call, around=lambda each: tf.device(device_of(each)), makes_anew=True)


def _compute_on(layer: keras.Layer | keras.Operation, device: str | None) -> None:
    """Makes one layer or operation compute on a device, with its gradient, which TensorFlow would place on the default device."""
    import tensorflow as tf

    own = vars(layer).setdefault("call", layer.call)
    if hasattr(own, "tfopt_device"):
        return  # the layer is shared and was called before

    @functools.wraps(own)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = keras.tree.flatten((args, kwargs))
        places = [place for place, value in enumerate(given) if isinstance(value, tf.Tensor) and value.dtype.is_floating]
        if not places:
            with tf.device(device):
                return own(*args, **kwargs)
        made: dict[str, Any] = {}

        @tf.custom_gradient
        def forward(*tensors: tf.Tensor) -> tuple[list[tf.Tensor], Any]:
            with tf.device(device), tf.GradientTape() as tape:
                tape.watch(tensors)
                values = dict(enumerate(given)) | dict(zip(places, tensors, strict=True))
                again = keras.tree.pack_sequence_as((args, kwargs), [values[place] for place in range(len(given))])
                made["outputs"] = own(*again[0], **again[1])
            outputs = keras.tree.flatten(made["outputs"])

            def backward(*gradients: tf.Tensor, variables: Sequence[tf.Variable] = ()) -> Any:
                with tf.device(device):
                    found = tape.gradient(outputs, [*tensors, *variables], gradients, unconnected_gradients="zero")
                of_inputs, of_variables = found[: len(tensors)], found[len(tensors) :]
                return (of_inputs, of_variables) if variables else of_inputs

            return outputs, backward

        with tf.device(device):  # otherwise TensorFlow copies the outputs to the default device
            outputs = forward(*(given[place] for place in places))
        return keras.tree.pack_sequence_as(made["outputs"], keras.tree.flatten(outputs))

    vars(call)["tfopt_device"] = device
    vars(layer)["call"] = call


def _assign(model: keras.Model, devices: Mapping[str, Layers]) -> dict[str, str]:
    """Layer name -> device, for each layer except the inputs."""
    if not isinstance(devices, Mapping) or not devices:
        raise ArgumentError(
            f"`devices` must be a dict of device -> layers with at least one device. Received: devices={devices!r}. "
            'Give for example {"/gpu:0": ["*"]}.'
        )
    names = [layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    wanted: dict[str, str] = {}
    for device, chosen in devices.items():
        _check_device(device)
        for name in _names(names, chosen):
            if wanted.setdefault(name, device) != device:
                raise ArgumentError(
                    f"a layer must have one device. Received: layer {name!r} on {wanted[name]!r} and on {device!r}. "
                    "Remove it from one of them."
                )
    left = [name for name in names if name not in wanted]
    if left:
        raise ArgumentError(
            f"each layer must have a device. Received: no device for {', '.join(left)}. Add these names to a device's layers."
        )
    return wanted


def _check_device(device: str) -> None:
    import tensorflow as tf

    known = [each.name.removeprefix("/device:") for each in tf.config.list_logical_devices()]
    short = str(device).lower().removeprefix("/").removeprefix("device:")
    if short not in [each.lower() for each in known]:
        raise ArgumentError(
            f"a device must be one of {', '.join(f'/{each.lower()}' for each in known)}. Received: {device!r}. "
            "To try it on a CPU, tfopt.strategy('one_device', logical_devices=2) splits the CPU into two devices."
        )


def _names(names: list[str], chosen: Layers) -> list[str]:
    """The names among `names` that one device was given."""
    if isinstance(chosen, tuple):
        if len(chosen) != 2 or not set(chosen) <= set(names):
            raise ArgumentError(
                f"a tuple must name a first and a last layer, from {', '.join(names)}. Received: {chosen!r}. "
                "Give a list to select single layers."
            )
        first, last = map(names.index, chosen)
        if first > last:
            raise ArgumentError(
                f"the first layer of a tuple must come before the last layer in `model.layers`. Received: {chosen!r}. Swap them."
            )
        return names[first : last + 1]
    found: list[str] = []
    for pattern in [chosen] if isinstance(chosen, str) else chosen:
        matching = fnmatch.filter(names, pattern)
        if not matching:
            raise ArgumentError(
                f"a name or glob must match a layer, from {', '.join(names)}. Received: {pattern!r}. Correct or remove it."
            )
        found += matching
    return found
