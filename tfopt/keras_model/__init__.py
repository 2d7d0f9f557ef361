"""A Keras model of either generation in; its layers, weights, selections and copies out."""
