"""A training script goes in; one process for each worker comes out, on one machine or on several."""
