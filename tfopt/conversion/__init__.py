"""From a Keras model to a checked TFLite file; start reading at `convert.py`."""
