"""`.h5` files that Keras 1 or 2 wrote: configuration -> repair -> safety -> tf_keras -> weights -> second opinion."""

import base64
import binascii
import dataclasses
import marshal

from tfopt.errors import LoadError
from tfopt.keras2 import door
from tfopt.loading import model_file, safety
from tfopt.loading.h5 import reachable, repair, second_opinion, weights
from tfopt.loading.h5.layer_repairs import FUNCTION_OF, MissingAnswer
from tfopt.loading.h5.weight_groups import read_groups

# What a damaged configuration raises when it is walked.
_DAMAGES = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)


def load(found, named, custom_objects, *, allow_unsafe):
    """Builds the model of an `.h5` file with tf_keras, after repairs, and verifies its weights and what it computes.

    Args:
        found: a `model_file.ModelFile` of kind "h5".
        named: str, path of the file with an ending that Keras knows.
        custom_objects: dict of name -> class or function.
        allow_unsafe: bool, whether bytecode in the file may be run.

    Returns:
        (tf_keras model, tuple of str)

    Raises:
        LoadError, UnsafeModelError: as `load.load`.
    """
    is_keras_1 = repair.is_keras_1(found.keras_version, found.config)
    given = {*custom_objects, *door.registered_names()}
    config, notes = _repaired(found, given, is_keras_1)
    repaired = dataclasses.replace(found, config=config)
    if not allow_unsafe:
        safety.require_safe(repaired, custom_objects=given)
    _require_runnable_lambdas(config, found.path)
    groups = read_groups(found.path)
    try:
        model = door.from_config(config, model_file.add_registered_names(config, _by_layer(config, custom_objects)))
    except Exception as error:  # Whatever a reader makes of a damaged file, the user gets one clear message.
        raise model_file.unreadable(found, error) from error
    if is_keras_1:
        _require_shapes(model, found)
    count = weights.assign(model, groups, found.path, _writer(found, groups, is_keras_1, custom_objects))
    version = found.keras_version or ("1 (of no known version)" if is_keras_1 else "2 (of no known version)")
    steps = [f"read with tf_keras {door.version()}: written by Keras {version}", *(f"repaired: {note}" for note in notes)]
    opinion = _second_opinion(model, found, named, custom_objects, is_keras_1, allow_unsafe, notes)
    return model, (*steps, f"verified: {count} of {count} weights assigned once; {opinion}")


def _repaired(found, given, is_keras_1):
    try:
        config, notes = repair.repair(
            found.config, keras_1=is_keras_1, given=given, known_layers=door.known_layers(), known_parts=door.known_parts(),
            known_functions=door.known_functions(),
        )  # fmt: skip
        reachable.require_followable(config)
        return config, notes
    except MissingAnswer as missing:
        raise LoadError(
            f"Every class and function in the model must be known. Received: {found.path}, whose {missing}. "
            f"Give it with --custom-objects FILE.py (Python: custom_objects={{...}}); the file has:\n{missing.how}"
        ) from missing
    except _DAMAGES as error:
        received = f"a damaged configuration ({type(error).__name__}: {error})"
        raise model_file.refusal(found.path, received, "Copy or save it again.") from error


def _by_layer(config, custom_objects):
    """The given objects, those for one layer under the name that `repair` gave them: tf_keras would take a layer's name for one."""
    found = dict(custom_objects)
    for kind, layer in _layers(config):
        for used in (kind, layer.get("activation"), layer.get("recurrent_activation")):
            name = used.removeprefix(FUNCTION_OF) if isinstance(used, str) else used
            if name != used:
                function = custom_objects[name]
                found.pop(name, None)
                found[used] = door.lambda_layer(function) if used == kind else function
    return found


def _writer(found, groups, is_keras_1, custom_objects):
    names = [name for arrays in groups.values() for name, _ in arrays]
    # Keras 1 does not tell its backend, but TensorFlow's names of variables end with ":0".
    theano = found.backend == "theano" or (is_keras_1 and not found.backend and bool(names) and not any(":" in n for n in names))
    first, cudnn = set(), set()
    for kind, config in _layers(found.config):
        if config.get("dim_ordering") == "th" or config.get("data_format") == "channels_first":
            first.add(config.get("name"))
        if kind.startswith("CuDNN"):
            cudnn.add(config.get("name"))
    return weights.Writer(is_keras_1, theano, frozenset(first), frozenset(cudnn), frozenset(custom_objects))


def _layers(node):
    """(class name, configuration) of everything in a configuration that has both."""
    if isinstance(node, dict):
        if isinstance(node.get("class_name"), str) and isinstance(node.get("config"), dict):
            yield node["class_name"], node["config"]
        for value in node.values():
            yield from _layers(value)
    elif isinstance(node, list):
        for item in node:
            yield from _layers(item)


def _require_shapes(model, found):
    """A Keras 1 deconvolution was told its output's shape; today the shape follows from the input."""
    wanted = {
        config.get("name"): config["output_shape"]
        for kind, config in _layers(found.config)
        if kind in ("Deconvolution2D", "Deconv2D") and config.get("output_shape")
    }
    for layer in model.submodules:
        shape = wanted.get(getattr(layer, "name", None))
        if shape is not None and list(getattr(layer, "output_shape", shape))[1:] != list(shape)[1:]:
            raise LoadError(
                f"Every layer must have a counterpart today. Received: {found.path}, whose layer {layer.name!r} (Deconvolution2D) "
                f"gives {tuple(shape)}, where Conv2DTranspose gives {layer.output_shape}. Give a class of the name Deconvolution2D "
                "with --custom-objects FILE.py (Python: custom_objects={...})."
            )


def _require_runnable_lambdas(config, path):
    """Bytecode that another Python wrote cannot run here, whoever allows it: the function itself is asked for."""
    for kind, layer in _layers(config):
        function = layer.get("function")
        if kind != "Lambda" or not isinstance(function, list | dict):
            continue
        code = function[0] if isinstance(function, list) else (function.get("config") or {}).get("code")
        try:
            marshal.loads(_bytes(code))
        except (ValueError, EOFError, TypeError, IndexError, AttributeError, MemoryError, SystemError) as error:
            name = layer.get("name")
            raise LoadError(
                f"A Lambda layer's bytecode must be of this Python version. Received: {path}, whose layer {name!r} has that of "
                f"another. Give the function under the layer's name with --custom-objects FILE.py "
                f"(Python: custom_objects={{{name!r}: function}}); the file has:\n"
                f"def function(x):\n    return ...\ncustom_objects = {{{name!r}: function}}"
            ) from error


def _bytes(code):
    try:
        return base64.b64decode("".join(code.split()), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        return code.encode("raw_unicode_escape")


def _second_opinion(model, found, named, custom_objects, is_keras_1, allow_unsafe, notes):
    if is_keras_1:
        return "Keras 3 does not know Keras 1's names"
    if custom_objects or allow_unsafe:
        return "not compared with Keras 3: what was given belongs to Keras 2"
    try:
        safety.require_safe(found, custom_objects=door.registered_names())
    except LoadError:
        return "not compared with Keras 3: parts of the file were left out"
    low_precision = any("float32" in note for note in notes)
    return second_opinion.second_opinion(model, named, **({"tolerance": 2e-2} if low_precision else {}))
