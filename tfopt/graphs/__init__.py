"""A graph of TensorFlow in, what it computes out, whoever wrote it."""
