"""A Keras model and a schedule in, the same model with weights that are zero out."""
