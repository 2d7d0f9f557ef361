"""The table of operations names operations that the schema has, and gives the scale of an output one origin."""

import pytest
from ai_edge_litert import schema_py_generated as schema

from tfopt.tflite import operations


@pytest.mark.parametrize("row", ["SAME_SCALE", "FIXED_SCALE", "ANY_SCALE", "SAME_TYPE"])
def test_names_are_those_of_the_schema(row):
    assert getattr(operations, row) <= set(vars(schema.BuiltinOperator))


def test_the_scale_of_an_output_has_one_origin():
    rows = operations.SAME_SCALE, operations.FIXED_SCALE, operations.ANY_SCALE
    assert len(frozenset().union(*rows)) == sum(map(len, rows))
