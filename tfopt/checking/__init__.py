"""A TFLite file, a reference and data in; a verdict, the errors of outputs and layers, timings and contents out."""
