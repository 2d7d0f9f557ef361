"""Options that several commands share, and how a command runs its work.

The modules of commands import within functions: `tfopt --help` imports all commands, and must start at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tfopt.request import Request

Command = TypeVar("Command", bound=Callable[..., Any])


def _all_of(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


printing = _all_of(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("--verbose", is_flag=True, help="Show the messages of TensorFlow and its converter."),
)
_LARGE = "Let the content of files take any memory. Default: the free memory, and 100 times the size of a file above 256 MiB."
large = click.option("--allow-large", is_flag=True, help=_LARGE)
loading = _all_of(
    click.option(
        "--custom-objects",
        metavar="FILE.py",
        help="Python file with the model's own classes and functions; it is run. A dict `custom_objects` in it adds names that "
        'Python cannot have, such as "<lambda>", and functions by the name of their Lambda layer.',
    ),
    click.option(
        "--architecture", metavar="MODULE:FUNCTION", help="Function that builds the model of a file that holds only weights."
    ),
    click.option(
        "--allow-unsafe",
        is_flag=True,
        help="Let the model file do whatever you may do: run Python (Lambda layers), read and write files, use the network.",
    ),
    large,
)
scale = click.option(
    "--scale", type=click.Choice(["0..1", "-1..1", "0..255"]), help="Range that the pixels of a folder of images are brought to."
)
limits = _all_of(
    scale,
    click.option(
        "--max-accuracy-drop", type=float, default=0.01, show_default=True, help="Accuracy that may be lost; 0.01 is one point."
    ),
    click.option("--min-sqnr", type=float, default=20.0, show_default=True, help="SQNR in dB that every output must reach."),
    click.option(
        "--max-qat-error-lsb",
        type=float,
        help="Steps by which 99.9 % of an output may differ from a quantization-aware model. Default: by kind of network.",
    ),
)
threads = click.option("--threads", type=int, default=1, show_default=True, help="Threads of the TFLite interpreter.")
runs = click.option("--runs", type=int, default=50, show_default=True, help="Timed runs in the benchmark.")


class InputShape(click.ParamType):
    """An input's name and shape, written like `images=1,224,224,3`."""

    name = "NAME=1,80,6"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, tuple[int, ...]]:
        """(name, shape) of the text `value`."""
        name, equals, sizes = value.partition("=")
        try:
            shape = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            shape = ()
        if not (name and equals and shape):
            self.fail(f"a shape is written like images=1,224,224,3. Received: {value!r}.", param, ctx)
        return name, shape


def require_existing(*models: str | None, data: Iterable[str | None] = ()) -> None:
    """Raises an error for the first path that does not exist, before TensorFlow is loaded.

    Args:
        models: paths of models or of TFLite files; None for one that was not given.
        data: paths of data, or "synthetic".
    """
    import os

    from tfopt.errors import DataError, LoadError

    for path in models:
        if path is not None and not os.path.exists(path):
            raise LoadError(f"The model file must be readable. Received: {path} (No such file or directory). Check the path.")
    for path in data:
        if path not in (None, "synthetic") and not os.path.exists(str(path)):
            raise DataError(f"The data file must exist. Received: {path}. Check the path.")


def run_in_child(target: str, request: Request, *, show_progress: bool, verbose: bool, timeout: float = 3600.0) -> Any:
    """Calls a function of tfopt in a child process, with a progress bar on a terminal: see `isolation.Child.call`."""
    from tfopt import isolation
    from tfopt.progress import progress_bar

    with progress_bar(show_progress) as progress:
        if verbose:
            return isolation.run(target, request, timeout=timeout, progress=progress, verbose=True)
        with isolation.warm_child(preload="") as child:  # `tfopt demo` makes two calls
            return child.call(target, request, timeout=timeout, progress=progress)
