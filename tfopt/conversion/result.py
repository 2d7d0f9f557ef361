"""What a conversion gives back: the file, what was found out about it, how it was made, and how to save it."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from typing import Any

from tfopt import files
from tfopt.checking.benchmark import BenchmarkResult
from tfopt.checking.result import CheckResult
from tfopt.conversion.settings import Settings, io_dtype
from tfopt.errors import OutputError
from tfopt.reporting import environment, report, summary
from tfopt.reporting.tables import Block, Summarized
from tfopt.reporting.units import byte_count, decibel


@dataclasses.dataclass(frozen=True, repr=False)
class ConversionResult(Summarized):
    """A converted model, what was found out about it, and how it was made.

    `print(result)` prints the table of the command line, and a notebook shows it.

    Attributes:
        tflite: bytes of the file.
        check: the comparison with the model; `.passed` and `.reasons` are the verdict.
        benchmark: the file against its float32 twin.
        settings: how the model was converted and checked.
        source: dict with the "name" and "sha256" of the model file (None for a model in memory).
        representative_data: the origin of the ranges.
        lowered: dict of rule (`lower.RULES`) -> the layers that it rewrote.
        rewritten: dict of edit (`edits.EDITS`) -> number of ops of the file that it rewrote.
        notes: what else a reader should know.
        float_check: the comparison with the float model that a quantization-aware model was made of; None if it was not given. The
            verdict is that of `check`.
        quantization_aware: whether the model rounds as it trains, so that its outputs are not those of a float model.
    """

    tflite: bytes
    check: CheckResult
    benchmark: BenchmarkResult
    settings: Settings
    source: dict[str, str | None]
    representative_data: str
    lowered: dict[str, tuple[str, ...]]
    rewritten: dict[str, int]
    notes: tuple[str, ...]
    float_check: CheckResult | None = None
    quantization_aware: bool = False

    def report(self, name: str = "model.tflite") -> dict[str, Any]:
        """All of the result but the bytes, as JSON types.

        Args:
            name: the name that the file is going to have; "" if it has none yet.
        """
        checks = {"check": self.check, "float_check": self.float_check}
        return {
            "schema_version": report.SCHEMA_VERSION,
            "tflite": {"name": name, "bytes": len(self.tflite), "sha256": hashlib.sha256(self.tflite).hexdigest()},
            "source": self.source,
            "environment": environment.describe(),
            "settings": report.to_dict(self.settings) | {"io": io_dtype(self.settings.quantization, self.settings.io)},
            "quantization_aware": self.quantization_aware,
            "representative_data": self.representative_data,
            "lowered": report.to_dict(self.lowered),
            "rewritten": self.rewritten,
            "notes": list(self.notes),
            **{name: each and report.to_dict(each) | {"accuracy_drop": each.accuracy_drop} for name, each in checks.items()},
            "benchmark": report.to_dict(self.benchmark),
        }

    def save(self, path: files.PathLike, overwrite: bool = False, keep_failed: bool = False) -> None:
        """Writes the file, and beside it `*.report.json` and `*.report.md`: all of them or none.

        Args:
            path: a path that ends in `.tflite`.
            overwrite: whether existing files may be replaced.
            keep_failed: whether a file that failed its check is written, too.

        Raises:
            OutputError: the check failed and `keep_failed` is False; a file exists and `overwrite` is False; or the folder cannot
                be written.
        """
        if not self.check.passed and not keep_failed:
            raise OutputError(
                f"A file must pass its check before it is saved. Received: {'; '.join(self.check.reasons)}. "
                "Remove the cause, or save the file all the same with keep_failed=True."
            )
        path = pathlib.Path(path)
        files.write({path: self.tflite, **report.documents(path, self.report(path.name))}, overwrite=overwrite)

    def _summary(self) -> list[Block]:
        found = self.report(name="")
        model = "model" if self.source["sha256"] is None else repr(self.source["name"])
        command = f"tfopt.check(result.tflite, reference={model}, data=x_test, layers=True)"
        return [*summary.of_conversion(found), *summary.verdict(found["check"]), *summary.next_step(found["check"], command)]

    def __repr__(self) -> str:
        sqnr = min((output.sqnr for output in self.check.outputs if output.sqnr is not None), default=None)
        facts = [self.settings.quantization, "passed" if self.check.passed else "FAILED", byte_count(len(self.tflite))]
        facts += [decibel(sqnr)] if sqnr is not None else []
        facts += [f"{self.benchmark.speedup:.2f}x float32"] if self.benchmark.speedup else []
        return f"ConversionResult({', '.join(facts)})"
