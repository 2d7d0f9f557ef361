"""Repairs of single layers: differences between the Keras that wrote a file and tf_keras, which reads it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from tfopt.loading.float32 import is_low_precision
from tfopt.loading.model_file import Config

FUNCTION_OF = "function of layer "
"""With a layer's name, the name of the function that the user gave for this layer."""

_ROLES = re.compile(".*_(initializer|regularizer|constraint)")
_INTEGERS = re.compile("u?int[0-9]+")
_LAMBDA_ANSWER = 'def activation(x):\n    return ...\ncustom_objects = {"<lambda>": activation}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """Names that tf_keras finds without being given them.

    Attributes:
        layers: of layer classes.
        parts: of initializers, regularizers and constraints.
        functions: of activations.
    """

    layers: frozenset[str]
    parts: frozenset[str]
    functions: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Context:
    """The part that is common to the repairs of one file.

    Attributes:
        is_keras_1: whether Keras 1 wrote the file.
        given: names that the user gave objects for.
        known: names that tf_keras finds.
        notes: sentences about the repairs so far.
    """

    is_keras_1: bool
    given: frozenset[str]
    known: Known
    notes: list[str] = dataclasses.field(default_factory=list)

    def note(self, text: str) -> None:
        """Adds a note, once."""
        if text not in self.notes:
            self.notes.append(text)


def takes_integers(config: Config) -> bool:
    """Whether the dtype of a layer is one of integers."""
    return _INTEGERS.fullmatch(str(config.get("dtype"))) is not None


class MissingAnswer(Exception):
    """The file needs something that only the user has.

    Attributes:
        how: Python code that would give it, for the message.

    Args:
        layer: name of the layer.
        what: predicate of a sentence about the layer, as "needs 'Swish2'".
    """

    how: str

    def __init__(self, layer: str, what: str, how: str) -> None:
        super().__init__(f"layer {layer!r} {what}")
        self.how = how


def _plain_numbers(kind: str, config: Config, name: str, context: Context) -> None:
    """Takes NumPy numbers out of the dicts in which Keras stores them."""
    for key, value in config.items():
        if isinstance(value, dict) and value.get("type") == "ndarray" and "value" in value:
            config[key] = value["value"]


def compute_in_float32(kind: str, config: Config, name: str, context: Context) -> None:
    """Replaces a dtype policy of low precision by float32."""
    dtype = config.get("dtype")
    policy = dtype
    if isinstance(dtype, dict):
        policy = (dtype.get("config") or {}).get("name")
    if is_low_precision(policy):
        config["dtype"] = "float32"
        context.note(f"rebuilt under float32: layers computed in {policy}")
    elif isinstance(dtype, dict):
        config["dtype"] = policy


def _rnn_implementation(kind: str, config: Config, name: str, context: Context) -> None:
    if kind in ("LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "ConvLSTM2D") and config.get("implementation") == 0:
        config["implementation"] = 1
        context.note(f"{name}: {kind} implementation 0 -> 1")


def _gru_reset(kind: str, config: Config, name: str, context: Context) -> None:
    if kind in ("GRU", "GRUCell") and "reset_after" not in config:
        config["reset_after"] = False
        context.note(f"{name}: {kind} without `reset_after` applies the reset gate before the multiplication")


def _embedding_dtype(kind: str, config: Config, name: str, context: Context) -> None:
    """The dtype of old files is that of the indices; a first layer keeps it, as `repair` makes an input layer of it."""
    if kind == "Embedding" and takes_integers(config):
        if not config.get("batch_input_shape"):
            del config["dtype"]
        context.note(f"{name}: an Embedding's weights are floats")


def _attention_shapes(kind: str, config: Config, name: str, context: Context) -> None:
    if kind == "MultiHeadAttention":  # required since 2.5; None stands for the shapes of the first call
        for key in ("query_shape", "key_shape", "value_shape"):
            config.setdefault(key, None)


def _parts_of_training(kind: str, config: Config, name: str, context: Context) -> None:
    """Leaves out unknown initializers, regularizers and constraints: all weights come from the file."""
    for key, value in config.items():
        if not _ROLES.fullmatch(key) or value is None:
            continue
        part = value.get("class_name") if isinstance(value, dict) else value
        part = value.get("config") if part == "function" else part
        if isinstance(part, str) and part.rpartition(">")[2] not in context.known.parts | context.given:
            config[key] = "zeros" if key.endswith("initializer") else None
            context.note(f"{name}: left out the {key} {part!r}, which only training needs")


def _functions(kind: str, config: Config, name: str, context: Context) -> None:
    """Gives activations without a name the functions of the user's, and asks for unknown ones."""
    for key in ("activation", "recurrent_activation"):
        value = config.get(key)
        nameless = value == "<lambda>" or (isinstance(value, dict) and "value" in value and "class_name" not in value)
        nameless = nameless or (isinstance(value, dict) and value.get("class_name") == "__lambda__")
        if isinstance(value, str) and not nameless and value not in context.known.functions | context.given:
            plain = value.rpartition(">")[2]
            if plain not in context.known.functions | context.given:
                raise MissingAnswer(name, f"has the {key} {value!r}, which the file does not hold", f"def {plain}(x): ...")
        if not nameless:
            continue
        answer = next((answer for answer in (name, "<lambda>") if answer in context.given), None)
        if answer is None:
            raise MissingAnswer(name, f"has the {key} `<lambda>`, a function that the file does not hold", _LAMBDA_ANSWER)
        config[key] = answer if answer == "<lambda>" else FUNCTION_OF + name
        context.note(f"{name}: the {key} `<lambda>` is the given {answer!r}")


REPAIRS: tuple[Callable[[str, Config, str, Context], None], ...] = (
    _plain_numbers,
    compute_in_float32,
    _rnn_implementation,
    _gru_reset,
    _embedding_dtype,
    _attention_shapes,
    _parts_of_training,
    _functions,
)
"""Each changes the configuration of one layer in place: (class name, configuration, layer name, context)."""
