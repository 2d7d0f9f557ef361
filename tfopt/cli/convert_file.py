"""Convert a file to files: the work of `tfopt convert` and `tfopt demo`."""

from __future__ import annotations

import pathlib
import shlex
import tempfile
from typing import Any

from tfopt import files
from tfopt.cli import options, terminal
from tfopt.conversion.settings import ConversionRequest, FileRequest
from tfopt.reporting import report, summary


def convert_to_file(
    request: ConversionRequest, output: pathlib.Path, *, overwrite: bool, keep_failed: bool, shown: dict[str, bool]
) -> dict[str, Any]:
    """Converts a file in a child process and writes the results, all of them or none.

    Args:
        request: the conversion, with paths for model and data.
        output: the path of the TFLite file to write.
        overwrite: whether existing files may be replaced.
        keep_failed: whether a file that failed its check is written, too.
        shown: "show_progress" and "verbose" of `run_in_child`.

    Returns:
        The report; its "written" is the path of the file, or None if it failed its check.

    Raises:
        TfoptError: nothing was written.
    """
    files.require_writable((output, *report.paths(output)), overwrite=overwrite)
    options.require_existing(request.model, data=(request.representative_data, request.validation_data, request.labels))
    with tempfile.TemporaryDirectory(prefix="tfopt-") as folder:
        staging = pathlib.Path(folder) / "model.tflite"
        job = FileRequest(conversion=request, name=output.name, staging=str(staging))
        found = options.run_in_child("tfopt.conversion.convert:convert_file", job, timeout=request.settings.timeout, **shown)
        kept = found["check"]["passed"] or keep_failed
        if kept:
            files.write({output: staging.read_bytes(), **report.documents(output, found)}, overwrite=overwrite)
    return {**found, "written": str(output) if kept else None}


def print_conversion(found: dict[str, Any], request: ConversionRequest, output: pathlib.Path) -> None:
    """Prints the report that `convert_to_file` returned for the same arguments."""
    terminal.print_blocks(summary.of_conversion(found))
    terminal.print_verdict(found["check"])
    if found["written"]:
        stem = found["written"].removesuffix(".tflite")
        print(f"Written: {found['written']}, {stem}.report.json, {stem}.report.md")
    else:
        print("Nothing was written, as the file failed its check. --keep-failed writes it all the same.")
    again = "" if found["written"] else "the same with --keep-failed, then "
    for line in summary.next_step(found["check"], again + _layers_command(request, output)):
        print(line)


def _layers_command(request: ConversionRequest, output: pathlib.Path) -> str:
    """The command that compares the layers of the file at `output` with those of its model."""
    data = request.representative_data if request.validation_data is None else request.validation_data
    words = ["tfopt", "check", str(output), "--reference", str(request.model), "--data", str(data), "--layers"]
    options = {
        "--scale": request.settings.scale,
        "--custom-objects": request.loading.custom_objects,
        "--architecture": request.loading.architecture,
    }
    words += [word for name, value in options.items() if value is not None for word in (name, str(value))]
    flags = {"--allow-unsafe": request.loading.allow_unsafe, "--allow-large": request.loading.allow_large}
    return shlex.join([*words, *(flag for flag, is_given in flags.items() if is_given)])
