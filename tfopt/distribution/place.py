"""`place()`: layers of a Functional model on several devices, where one device cannot hold them all."""

import fnmatch
import functools

import keras

from tfopt.errors import ArgumentError
from tfopt.keras_model import functional_graph
from tfopt.keras_model.describe import require_built


def place(model, devices):
    """A new model with the same weights, outputs and gradients, whose layers compute and keep their weights on given devices.

    Example:

    ```python
    split = tfopt.place(model, {"/gpu:0": ("embedding", "block_11"), "/gpu:1": ("block_12", "head")})
    split.compile("adam", "mse")
    split.fit(x, y)
    ```

    This brings room, not speed: one device computes while the others wait. There is no pipelining, and a batch is not divided.
    Where a model fits on one device, give each device a part of the batch instead: `tfopt.strategy("mirrored")`. Files know no
    devices: a saved model is loaded as any other, and can be placed again.

    Args:
        model: built Keras 3 model, Functional or Sequential.
        devices: dict of a device's name, such as "/gpu:0" or "/cpu:1", -> its layers: a pair (first, last) of names as a tuple,
            which stands for these and all layers between them in `model.layers`; or a list of names and globs. Each layer but the
            inputs must have one device. Nested models are placed as a whole; operations such as `x + y` run where their first input
            is.

    Returns:
        A Keras model of the same name and layer names, not compiled.

    Raises:
        ArgumentError: a device that there is not, a name that matches nothing, a layer with no device or with two, or a model whose
            calls cannot be listed.
    """
    import tensorflow as tf

    require_built(model)
    if not functional_graph.is_functional(model):
        raise ArgumentError(
            "`model` must be a Functional or Sequential Keras 3 model, whose calls can be listed. Received: "
            f"{type(model).__name__}. Put `with tf.device(...)` into its `call`."
        )
    if tf.distribute.has_strategy() and tf.distribute.get_strategy().num_replicas_in_sync > 1:
        raise ArgumentError("place() puts one model on several devices. Received: a strategy's scope, which puts it on each.")
    wanted = _assign(model, devices)
    graph = functional_graph.Graph(model)
    where = {}  # id of a tensor -> its device

    def device_of(each):
        is_layer = isinstance(each.layer, keras.layers.Layer)
        device = wanted.get(each.layer.name) if is_layer else next((where.get(id(tensor)) for tensor in each.inputs), None)
        where.update((id(tensor), device) for tensor in keras.tree.flatten(each.outputs))
        return device

    def call(each, layer, args, kwargs):
        outputs = layer(*args, **kwargs)
        _compute_on(layer, device_of(each))
        return outputs

    return graph.replay(lambda layer: None, call=call, around=lambda each: tf.device(device_of(each)))


def _compute_on(layer, device):
    """Makes one layer or operation compute on a device, its gradient as well, for which TensorFlow has no device of its own."""
    import tensorflow as tf

    own = vars(layer).setdefault("call", layer.call)
    if hasattr(own, "tfopt_device"):
        return  # shared

    @functools.wraps(own)
    def call(*args, **kwargs):
        given = keras.tree.flatten((args, kwargs))
        places = [place for place, value in enumerate(given) if isinstance(value, tf.Tensor) and value.dtype.is_floating]
        if not places:
            with tf.device(device):
                return own(*args, **kwargs)
        made = {}

        @tf.custom_gradient
        def forward(*tensors):
            with tf.device(device), tf.GradientTape() as tape:
                tape.watch(tensors)
                values = dict(enumerate(given)) | dict(zip(places, tensors, strict=True))
                again = keras.tree.pack_sequence_as((args, kwargs), [values[place] for place in range(len(given))])
                made["outputs"] = own(*again[0], **again[1])
            outputs = keras.tree.flatten(made["outputs"])

            def backward(*gradients, variables=()):
                with tf.device(device):
                    found = tape.gradient(outputs, [*tensors, *variables], gradients, unconnected_gradients="zero")
                of_inputs, of_variables = found[: len(tensors)], found[len(tensors) :]
                return (of_inputs, of_variables) if variables else of_inputs

            return outputs, backward

        with tf.device(device):  # else what it returns is copied to the default device
            outputs = forward(*(given[place] for place in places))
        return keras.tree.pack_sequence_as(made["outputs"], keras.tree.flatten(outputs))

    call.tfopt_device = device
    vars(layer)["call"] = call


def _assign(model, devices):
    """dict of layer name -> device."""
    if not isinstance(devices, dict) or not devices:
        raise ArgumentError(f"`devices` must be a dict of device -> layers. Received: {devices!r}.")
    names = [layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    wanted = {}
    for device, chosen in devices.items():
        _check_device(device)
        for name in _names(names, chosen):
            if wanted.setdefault(name, device) != device:
                raise ArgumentError(f"a layer must have one device. Received: {name!r} for {wanted[name]!r} and {device!r}.")
    left = [name for name in names if name not in wanted]
    if left:
        raise ArgumentError(f"each layer must have a device. Received: none for {', '.join(left)}.")
    return wanted


def _check_device(device):
    import tensorflow as tf

    known = [each.name.removeprefix("/device:") for each in tf.config.list_logical_devices()]
    short = str(device).lower().removeprefix("/").removeprefix("device:")
    if short not in [each.lower() for each in known]:
        raise ArgumentError(
            f"a device must be one of {', '.join(f'/{each.lower()}' for each in known)}. Received: {device!r}. "
            "tfopt.strategy('one_device', logical_devices=2) makes two of the CPU."
        )


def _names(names, chosen):
    """The names of layers that one device was given."""
    if isinstance(chosen, tuple):
        if len(chosen) != 2 or not set(chosen) <= set(names):
            raise ArgumentError(f"a tuple must name a first and a last layer, of {', '.join(names)}. Received: {chosen!r}.")
        first, last = map(names.index, chosen)
        if first > last:
            raise ArgumentError(f"the first layer must stand before the last one. Received: {chosen!r}.")
        return names[first : last + 1]
    found = []
    for pattern in [chosen] if isinstance(chosen, str) else chosen:
        matching = fnmatch.filter(names, pattern)
        if not matching:
            raise ArgumentError(f"a name must match layers, of {', '.join(names)}. Received: {pattern!r}.")
        found += matching
    return found
