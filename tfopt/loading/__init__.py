"""A model file of any age in, a Keras model out."""
