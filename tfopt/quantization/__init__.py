"""A Keras model in, a model that computes as its int8 file will and trains as before out."""
