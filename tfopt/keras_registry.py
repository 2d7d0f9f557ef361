"""Plain `keras.saving.load_model` reads models with classes of tfopt, whichever of `keras` and `tfopt` is imported first.

Keras looks up a saved class by its registered name. The classes register themselves when their module is imported, but neither
`import tfopt` nor `import keras` imports these modules. Until then, a `_Postponed` stands in the registry for each class.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType
else:
    Loader = object  # `importlib.abc` is slow to import

SERIALIZABLE = {
    "AttentionTransfer": "tfopt.distillation.feature_losses",
    "DecoupledDistillation": "tfopt.distillation.losses",
    "Distiller": "tfopt.distillation.distiller",
    "FakeQuantize": "tfopt.quantization.fake_quantize",
    "FeatureDistillation": "tfopt.distillation.feature_losses",
    "FrozenBatchNormalization": "tfopt.quantization.frozen",
    "LogitsDistillation": "tfopt.distillation.losses",
    "QuantizeWrapper": "tfopt.quantization.wrapper",
    "QuantizedModel": "tfopt.quantization.quantized_model",
    "RelationalDistillation": "tfopt.distillation.feature_losses",
    "WarmUp": "tfopt.distribution.learning_rate",
}
"""Class that Keras 3 saves and loads -> module."""


def register() -> None:
    """Makes the classes of `SERIALIZABLE` known to Keras, now or as soon as Keras has been imported."""
    if sys.modules.get("keras") is not None:
        _enter()
    elif _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def _enter() -> None:
    """Enters each class in the registry of Keras, unless it is there."""
    from keras.saving import get_custom_objects

    for name, module in SERIALIZABLE.items():
        get_custom_objects().setdefault(f"tfopt>{name}", _Postponed(module, name))


class _Postponed:
    """Stands for a class whose module is imported when Keras loads a model with such a class.

    The modules are not imported together with Keras, as another thread may be importing one of them and waiting for Keras.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def from_config(self, config: Mapping[str, Any]) -> Any:
        """An object of the class."""
        return getattr(importlib.import_module(self._module), self._name).from_config(config)


class _Finder:
    """Finds Keras as the finders after this one do, and has the classes registered once Keras has been executed.

    It stays in `sys.meta_path`, as it is not safe to remove a finder while other threads import, and does nothing for other
    modules.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "keras" or self not in sys.meta_path:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            find = getattr(finder, "find_spec", None)  # Python 3.11 still asks finders that have none in another way
            spec = find(name, path, target) if find else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(Loader):
    """Loads Keras with its own loader, then has the classes registered. If Keras fails, so does its import, and nothing else."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def exec_module(self, module: ModuleType) -> None:
        self._own.exec_module(module)
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        _enter()


_FINDER = _Finder()
