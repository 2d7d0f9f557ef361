"""What a conversion gives back: the file, what was found out about it, how it was made, and how to save it."""

import dataclasses
import hashlib
import pathlib

from tfopt import files
from tfopt.checking.benchmark import BenchmarkResult
from tfopt.checking.check import CheckResult
from tfopt.conversion.settings import Settings, io_dtype
from tfopt.errors import OutputError
from tfopt.reporting import environment, report
from tfopt.reporting.markdown import to_markdown


@dataclasses.dataclass(frozen=True)
class ConversionResult:
    """A converted model, what was found out about it, and how it was made.

    Attributes:
        tflite: bytes of the file.
        check: `CheckResult`; `.passed` and `.reasons` are the verdict.
        benchmark: `BenchmarkResult`, the file against its float32 twin.
        settings: `Settings`.
        source: dict with the "name" and "sha256" of the model file (None for a model in memory).
        representative_data: str, what the ranges come from.
        lowered: dict of rule (`lower.RULES`) -> tuple of the layers that it rewrote.
        rewritten: dict of edit (`rewrite.EDITS`) -> int, ops of the file that it rewrote.
        notes: tuple of str.
        float_check: `CheckResult` against the float model that a quantization-aware one was made of; None if it was not given. The
            verdict is that of `check`.
    """

    tflite: bytes = dataclasses.field(repr=False)
    check: CheckResult
    benchmark: BenchmarkResult
    settings: Settings
    source: dict
    representative_data: str
    lowered: dict
    rewritten: dict
    notes: tuple
    float_check: CheckResult | None = None

    def report(self, name="model.tflite"):
        """All but the bytes, as a dict of JSON types; `name` is what the file will be called."""
        checks = {"check": self.check, "float_check": self.float_check}
        return {
            "schema_version": report.SCHEMA_VERSION,
            "tflite": {"name": name, "bytes": len(self.tflite), "sha256": hashlib.sha256(self.tflite).hexdigest()},
            "source": self.source,
            "environment": environment.describe(),
            "settings": report.to_dict(self.settings) | {"io": io_dtype(self.settings.quantization, self.settings.io)},
            "representative_data": self.representative_data,
            "lowered": report.to_dict(self.lowered),
            "rewritten": self.rewritten,
            "notes": list(self.notes),
            **{name: each and report.to_dict(each) | {"accuracy_drop": each.accuracy_drop} for name, each in checks.items()},
            "benchmark": report.to_dict(self.benchmark),
        }

    def save(self, path, force=False):
        """Writes the file, and beside it `*.report.json` and `*.report.md`: all of them or none.

        Args:
            path: str or path that ends in `.tflite`.
            force: bool. Whether to overwrite, and to write a file that failed its check.

        Raises:
            OutputError: the check failed or a file exists, without `force`; or the folder cannot be written.
        """
        if not self.check.passed and not force:
            raise OutputError(
                f"A file must pass its check before it is saved. Received: {'; '.join(self.check.reasons)}. "
                "Mend the cause, or save it all the same with force=True."
            )
        path = pathlib.Path(path)
        content = self.report(path.name)
        json_path, markdown_path = report.paths(path)
        files.write(
            {
                path: self.tflite,
                json_path: report.to_json(content).encode(),
                markdown_path: to_markdown(content).encode(),
            },
            force=force,
        )
