"""A report says on what it was measured."""

from tfopt.reporting import environment


def test_versions_and_cpu_are_told():
    described = environment.describe()
    assert {"tfopt", "tensorflow", "keras", "ai-edge-litert", "python", "cpu"} <= set(described)
    assert all(isinstance(value, str) and value for value in described.values())
