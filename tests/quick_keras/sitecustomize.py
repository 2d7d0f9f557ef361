"""Lets Keras start without matplotlib and sklearn in every process of the tests: Python imports this file from PYTHONPATH.

Keras imports both if they are installed, for functions that the tests do not use. This takes a third of the start of TensorFlow and
Keras. All other modules import them as usual.
"""

import sys


class NotForKeras:
    """A finder of `sys.meta_path` that hides two packages from the modules of Keras."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Raises for an import statement in a module of Keras; for all others, leaves the search to the next finder."""
        if name in ("matplotlib", "sklearn"):
            frame = sys._getframe(1)
            while frame and frame.f_globals.get("__name__", "").startswith(("importlib", "_frozen_importlib")):
                frame = frame.f_back
            if frame and frame.f_globals.get("__name__", "").startswith("keras.src."):
                raise ModuleNotFoundError(f"No module named {name!r} for Keras in the tests", name=name)


sys.meta_path.insert(0, NotForKeras)
