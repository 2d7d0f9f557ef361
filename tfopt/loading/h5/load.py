"""An `.h5` file of Keras 1 or 2: configuration -> repair -> safety -> tf_keras -> weights -> second opinion."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tfopt.errors import LoadError
from tfopt.keras2 import door
from tfopt.loading import asked_weights, config_safety, model_file
from tfopt.loading.custom_objects import add_registered_names
from tfopt.loading.h5 import reachable, repair, second_opinion, weights
from tfopt.loading.h5.bytecode import require_runnable
from tfopt.loading.h5.layer_repairs import FUNCTION_OF, Known, MissingAnswer
from tfopt.loading.h5.layouts import Writer
from tfopt.loading.h5.weight_groups import Group, read_groups
from tfopt.loading.model_file import Config, ModelFile
from tfopt.loading.options import LoadOptions

if TYPE_CHECKING:
    from tfopt.loading.load import Rows

# A damaged configuration raises these exceptions when it is walked.
_DAMAGES = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)


def load_h5(
    found: ModelFile, custom_objects: dict[str, Any], options: LoadOptions
) -> tuple[Any, tuple[str, ...], Callable[[str, Rows | None], str]]:
    """Builds the model of an `.h5` file with tf_keras, after repairs, and verifies its weights.

    Example: `load_h5(model_file.read("model.h5"), {}, LoadOptions())`

    Args:
        found: of kind "h5".
        custom_objects: class or function by name.
        options: whether code in the file may run, and how large it may be.

    Returns:
        (tf_keras model, steps, function that verifies the outputs): the function takes the path of the file, with an ending that
        Keras knows, and samples or None, and returns a clause.

    Raises:
        LoadError, UnsafeModelError: as `load`.
    """
    config = found.config or {}
    is_keras_1 = repair.is_keras_1(found.keras_version, config)
    given = {*custom_objects, *door.registered_names()}
    repaired, notes = _repaired(found, given, is_keras_1)
    if not options.allow_unsafe:
        config_safety.require_safe(dataclasses.replace(found, config=repaired), custom_objects=given)
    for kind, layer in _layers(repaired):
        if kind == "Lambda":
            require_runnable(layer, found.path)
    groups = read_groups(found.path, allow_large=options.allow_large)
    try:
        with asked_weights.bounded(found.path, found.held, keras2=True, allow_large=options.allow_large):
            model = door.from_config(repaired, add_registered_names(repaired, _by_layer(repaired, custom_objects)))
        model_file.require_layers(model)
    except LoadError:
        raise
    except Exception as error:  # Keras raises any exception for a damaged file; the user gets one clear message
        raise model_file.unreadable(found, error) from error
    if is_keras_1:
        _require_shapes(model, found)
    count = weights.assign(model, groups, found.path, _writer(found, groups, is_keras_1, custom_objects))
    reason = _why_not_compared(found, is_keras_1, has_answers=bool(custom_objects or options.allow_unsafe))
    # Keras 3 computes in low precision if the file says so.
    tolerance = 2e-2 if any("float32" in note for note in notes) else 1e-3

    def compare(named: str, rows: Rows | None) -> str:
        if reason:
            return f"not compared with Keras 3: {reason}"
        return second_opinion.second_opinion(model, named, rows, tolerance=tolerance)

    version = found.keras_version or ("1 (of no known version)" if is_keras_1 else "2 (of no known version)")
    steps = [f"read with tf_keras {door.version()}: written by Keras {version}", *(f"repaired: {note}" for note in notes)]
    return model, (*steps, f"verified: {count} of {count} weights assigned once"), compare


def _repaired(found: ModelFile, given: set[str], is_keras_1: bool) -> tuple[Config, tuple[str, ...]]:
    """The repaired configuration and sentences about the repairs."""
    known = Known(
        layers=frozenset(door.known_layers()), parts=frozenset(door.known_parts()), functions=frozenset(door.known_functions())
    )
    try:
        config, notes = repair.repair(found.config or {}, keras_1=is_keras_1, given=given, known=known)
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


def _by_layer(config: Config, custom_objects: Mapping[str, Any]) -> dict[str, Any]:
    """The given objects; a function for one layer under the name that `repair` gave it, lest tf_keras takes it for another."""
    found = dict(custom_objects)
    for kind, layer in _layers(config):
        for used in (kind, layer.get("activation"), layer.get("recurrent_activation")):
            if isinstance(used, str) and used.startswith(FUNCTION_OF):
                name = used.removeprefix(FUNCTION_OF)
                function = custom_objects[name]
                found.pop(name, None)
                found[used] = door.lambda_layer(function) if used == kind else function
    return found


def _writer(found: ModelFile, groups: Mapping[str, Group], is_keras_1: bool, custom_objects: Mapping[str, Any]) -> Writer:
    names = [name for group in groups.values() for name, _ in group]
    # Keras 1 does not tell its backend, but TensorFlow's names of variables end with ":0".
    theano = found.backend == "theano" or (is_keras_1 and not found.backend and bool(names) and not any(":" in n for n in names))
    layers = list(_layers(found.config))
    return Writer(
        is_keras_1=is_keras_1,
        is_theano=theano,
        channels_first=frozenset(
            str(config.get("name"))
            for _, config in layers
            if config.get("dim_ordering") == "th" or config.get("data_format") == "channels_first"
        ),
        cudnn=frozenset(str(config.get("name")) for kind, config in layers if kind.startswith("CuDNN")),
        given=frozenset(custom_objects),
    )


def _layers(node: Any) -> Iterator[tuple[str, Config]]:
    """Yields (class name, configuration) of all parts of a configuration that have both."""
    if isinstance(node, dict):
        if isinstance(node.get("class_name"), str) and isinstance(node.get("config"), dict):
            yield node["class_name"], node["config"]
        for value in node.values():
            yield from _layers(value)
    elif isinstance(node, list):
        for item in node:
            yield from _layers(item)


def _require_shapes(model: Any, found: ModelFile) -> None:
    """Raises an error if the output shape in a Keras 1 deconvolution is not the shape that follows from its input today."""
    wanted = {
        str(config.get("name")): config["output_shape"]
        for kind, config in _layers(found.config)
        if kind in ("Deconvolution2D", "Deconv2D") and isinstance(config.get("output_shape"), list)
    }
    for layer in model.submodules:
        shape = wanted.get(getattr(layer, "name", ""))
        if shape and list(getattr(layer, "output_shape", shape))[1:] != shape[1:]:
            raise LoadError(
                f"Every layer must have a counterpart today. Received: {found.path}, whose layer {layer.name!r} (Deconvolution2D) "
                f"returns {tuple(shape)}, where Conv2DTranspose returns {layer.output_shape}. Give a class of the name "
                "Deconvolution2D with --custom-objects FILE.py (Python: custom_objects={...})."
            )


def _why_not_compared(found: ModelFile, is_keras_1: bool, *, has_answers: bool) -> str:
    """Why Keras 3 cannot read the file too; "" if it can."""
    if is_keras_1:
        return "it does not know the names of Keras 1"
    if has_answers:
        return "the given objects belong to Keras 2"
    try:
        config_safety.require_safe(found, custom_objects=door.registered_names())
    except LoadError:
        return "parts of the file were left out"
    return ""
