"""Make all files that are wanted of a traced model, in this process or in a child."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfopt.conversion.export import Exported, Variant, save_traced, to_tflite
from tfopt.data.signature import TensorSpec
from tfopt.isolation import Child
from tfopt.lowering.trace import Traced
from tfopt.progress import Progress
from tfopt.ptq import headroom
from tfopt.ptq.headroom import Ends
from tfopt.request import Request
from tfopt.tflite.layer_names import Scopes


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportJob:
    """A traced model and the files to make of it.

    Attributes:
        traced: the model as one function.
        variants: the files by name.
        samples: arrays (n, ...) by input name to calibrate with; None if nothing is calibrated.
        skip_lowering: names of edits that are left out.
        suspects: layers to name if the converter dies.
        ends: `headroom.suited` of the model; None if `traced` is the model itself, which can tell.
    """

    traced: Traced
    variants: Mapping[str, Variant]
    samples: Mapping[str, npt.NDArray[np.generic]] | None = None
    skip_lowering: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()
    ends: Ends | None = None


Exporter = Callable[[ExportJob, Progress], Iterator[tuple[str, Exported]]]
"""A function that makes the files of a job one after the other and yields each with its name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedJob(Request):
    """The same for a child process: the model lies in `folder` as a SavedModel, and the samples beside it."""

    folder: str
    inputs: tuple[TensorSpec, ...]
    output_names: tuple[str, ...]
    keeps_functions: bool
    layers: dict[str, tuple[str, ...]]
    scopes: Scopes
    ends: Ends  # see `headroom.suited`
    variants: dict[str, Variant]
    skip_lowering: tuple[str, ...]
    suspects: tuple[str, ...]


def make_files(job: ExportJob, progress: Progress) -> Iterator[tuple[str, Exported]]:
    """An `Exporter` that makes the files in this process, which may die: for the child of the command line, say."""
    for name, variant in job.variants.items():
        progress({"stage": f"convert to {variant.quantization}", "suspects": list(job.suspects)})
        options: Any = {"samples": job.samples, "skip_lowering": job.skip_lowering, "ends": job.ends}
        yield name, to_tflite(job.traced, variant, **options, progress=progress)


@dataclasses.dataclass(frozen=True)
class InChild:
    """An `Exporter` that lets a child process make the files: if the converter dies, this process lives on."""

    child: Child
    timeout: float  # seconds

    def __call__(self, job: ExportJob, progress: Progress) -> Iterator[tuple[str, Exported]]:
        """Makes the files."""
        with tempfile.TemporaryDirectory(prefix="tfopt-") as name:
            folder = pathlib.Path(name)
            save_traced(job.traced, folder)
            if job.samples is not None:
                arrays = {f"input_{index}": job.samples[spec.name] for index, spec in enumerate(job.traced.inputs)}
                np.savez(folder / "samples.npz", **arrays)  # type: ignore[arg-type]  # NumPy's stub takes the names for options
            saved = SavedJob(
                folder=str(folder),
                inputs=tuple(job.traced.inputs),
                output_names=tuple(job.traced.output_names),
                keeps_functions=job.traced.keeps_functions,
                layers=dict(job.traced.layers),
                scopes=job.traced.scopes,
                ends=headroom.suited(job.traced.function),
                variants=dict(job.variants),
                skip_lowering=job.skip_lowering,
                suspects=job.suspects,
            )
            made = self.child.call(
                "tfopt.conversion.export_job:export_saved", saved, timeout=self.timeout, progress=progress, suspects=job.suspects
            )
            for name in job.variants:
                yield name, Exported((folder / name).read_bytes(), made[name]["edits"], tuple(made[name]["notes"]))


def export_saved(request: str, progress: Progress) -> dict[str, dict[str, object]]:
    """Makes the files of a `SavedJob` beside the SavedModel; what the child of `InChild` runs.

    Args:
        request: the `SavedJob` as JSON.
        progress: called with {"stage": ...} before each file.

    Returns:
        dict of file name -> {"edits", "notes"} of its `Exported`.
    """
    import tensorflow as tf

    job = SavedJob.from_json(request)
    folder = pathlib.Path(job.folder)
    progress({"stage": "read the traced model"})
    loaded = tf.saved_model.load(str(folder))
    function = loaded.serve.get_concrete_function()
    traced = Traced(function, loaded, list(job.inputs), list(job.output_names), job.keeps_functions, job.layers, job.scopes)
    samples = None
    if (folder / "samples.npz").exists():
        with np.load(folder / "samples.npz") as archive:
            samples = {spec.name: archive[f"input_{index}"] for index, spec in enumerate(job.inputs)}
    here = ExportJob(
        traced=traced,
        variants=job.variants,
        samples=samples,
        skip_lowering=job.skip_lowering,
        suspects=job.suspects,
        ends=job.ends,
    )
    made: dict[str, dict[str, object]] = {}
    for name, exported in make_files(here, progress):
        (folder / name).write_bytes(exported.content)
        made[name] = {"edits": exported.edits, "notes": exported.notes}
    return made
