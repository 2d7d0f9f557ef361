"""From files to files: run the work in a child process and write its results, all of them or none."""

import pathlib
import tempfile

from tfopt import errors, files, isolation
from tfopt.cli import terminal
from tfopt.reporting import report
from tfopt.reporting.markdown import to_markdown


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
        contents = [staging.read_bytes(), report.to_json(result).encode(), to_markdown(result).encode()]
    kept = result["check"]["passed"] or keep_failed
    if kept:
        files.write(dict(zip(outputs, contents, strict=True)), force=force)
    return {**result, "written": str(path) if kept else None}


def prune_to_file(model, output, *, force=False, verbose=False, show_progress=False, **request):
    """What `tfopt prune` does. This process needs neither TensorFlow nor NumPy.

    Args:
        model, output: paths; the output ends in `.keras` or `.h5`.
        force, verbose, show_progress: bool, as the options of the command.
        request: the other options of the command.

    Returns:
        dict: the `SparsityReport`, "skipped" (weight name -> reason), "written".

    Raises:
        TfoptError: nothing was written.
    """
    path = pathlib.Path(output)
    if path.suffix not in (".keras", ".h5"):
        raise errors.ArgumentError(f"The output must be a .keras or .h5 file. Received: {path}.")
    files.require_writable([path], force=force)
    with tempfile.TemporaryDirectory(prefix="tfopt-") as folder, terminal.progress(show_progress) as progress:
        staging = pathlib.Path(folder) / f"model{path.suffix}"
        request |= {"model": str(model), "staging": str(staging)}
        result = isolation.run("tfopt.cli.pipeline:prune_file", request, progress=progress, verbose=verbose)
        files.write({path: staging.read_bytes()}, force=force)
    return {**result, "written": str(path)}


def prune_file(request, progress):
    """Loads, prunes and saves a model, in the child."""
    import tfopt
    from tfopt.pruning.prunable_weights import find_targets

    progress({"stage": "load"})
    model = tfopt.load(
        request["model"], custom_objects=request["custom_objects"], architecture=request["architecture"],
        allow_unsafe=request["allow_unsafe"],
    )  # fmt: skip
    progress({"stage": "prune"})
    if request["block"] and request["n_by_m"]:
        raise errors.ArgumentError("a model is pruned by one pattern. Received: --block and --n-by-m. Give one of them.")
    pattern = tfopt.Unstructured()
    if request["block"]:
        pattern = tfopt.Block(tuple(request["block"]))
    elif request["n_by_m"]:
        pattern = tfopt.NByM(*request["n_by_m"])
    selection = {"include": list(request["include"]) or None, "exclude": list(request["exclude"]) or None}
    pruned = tfopt.prune(
        model, request["sparsity"], threshold=request["threshold"], pattern=pattern, scope=request["scope"], **selection
    )
    _, skipped = find_targets(model, pattern, **selection)
    progress({"stage": "save"})
    pruned.save(request["staging"])
    found = tfopt.sparsity_report(pruned)
    return {**report.to_dict(found), "sparsity": found.sparsity, "skipped": skipped}
