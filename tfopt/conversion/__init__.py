"""A Keras model and representative data in, a checked and timed TFLite file out."""
