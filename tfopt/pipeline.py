"""From files to files: run a conversion in a child process and write its results, all of them or none."""

import pathlib
import tempfile

from tfopt import files, terminal
from tfopt.conversion import isolation, report


def convert_to_file(
    model, output, *, calibrate, validate, settings, labels=None, custom_objects=None, architecture=None, allow_unsafe=False,
    force=False, keep_failed=False, verbose=False, show_progress=False,
):  # fmt: skip
    """What `tfopt convert` does. This process needs neither TensorFlow nor NumPy.

    Args:
        model, output, calibrate, validate, labels, custom_objects: paths, or None.
        architecture: None or "module:function".
        settings: dict, arguments of `conversion.convert.Settings`.
        allow_unsafe, force, keep_failed, verbose, show_progress: bool, as the options of the command.

    Returns:
        dict, the report; its "written" says where the file is, or None if it failed its check.

    Raises:
        TfoptError: nothing was written.
    """
    path = pathlib.Path(output)
    outputs = (path, *report.paths(path))
    files.require_writable(outputs, force=force)
    with tempfile.TemporaryDirectory(prefix="tfopt-") as folder, terminal.progress(show_progress) as progress:
        staging = pathlib.Path(folder) / "model.tflite"
        request = {
            "model": str(model), "calibrate": calibrate, "validate": validate, "labels": labels, "custom_objects": custom_objects,
            "architecture": architecture, "allow_unsafe": allow_unsafe, "name": path.name, "staging": str(staging),
            "settings": {"input_shapes": None, **settings},
        }  # fmt: skip
        result = isolation.run(
            "tfopt.conversion.convert:convert_file", request, timeout=settings.get("timeout", 1800.0), progress=progress,
            verbose=verbose,
        )  # fmt: skip
        contents = [staging.read_bytes(), report.to_json(result).encode(), report.to_markdown(result).encode()]
    kept = result["check"]["passed"] or keep_failed
    if kept:
        files.write(dict(zip(outputs, contents, strict=True)), force=force)
    return {**result, "written": str(path) if kept else None}
