"""Where a result was measured: versions and the CPU, without which a latency means nothing."""

from __future__ import annotations

import importlib.metadata
import pathlib
import platform

_PACKAGES = ("tfopt", "tensorflow", "keras", "tf-keras", "ai-edge-litert", "numpy")


def describe() -> dict[str, str]:
    """Versions of Python and of the packages that matter, the operating system and the CPU, by name."""
    versions = {"python": platform.python_version(), "system": platform.system(), "cpu": _cpu()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _cpu() -> str:
    """The CPU's name and, on x86, whether it has the int8 dot product (VNNI) that makes int8 kernels fast."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "flags" not in fields:
        return platform.machine()
    vnni = any(flag in fields["flags"].split() for flag in ("avx512_vnni", "avx_vnni"))
    return f"{fields.get('model name', platform.machine())}, {'with' if vnni else 'without'} VNNI"
