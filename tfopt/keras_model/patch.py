"""Give layers other attributes while a model is traced."""

import contextlib


@contextlib.contextmanager
def replaced_attributes(replacements):
    """While it lasts, layers have other attributes, such as another `call`, wherever they sit; their names stay.

    For tracing: no weight is touched, and nothing remains.

    Args:
        replacements: dict of layer -> dict of attribute -> value. A new `call` takes the arguments of the layer's own without
            `self`, and `type(layer).call(layer, ...)` in it computes what the layer does.
    """
    own = {layer: {name: vars(layer)[name] for name in values if name in vars(layer)} for layer, values in replacements.items()}
    try:
        for layer, values in replacements.items():
            for name, value in values.items():
                object.__setattr__(layer, name, value)  # past Keras' own, which would track it
        yield
    finally:
        for layer, values in replacements.items():
            for name in values:
                vars(layer).pop(name, None)
            vars(layer).update(own[layer])
