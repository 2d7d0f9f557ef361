"""A TFLite file, a reference and data in; a verdict, errors of outputs and layers, and timings out."""
