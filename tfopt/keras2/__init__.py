"""Keras 2 models in, Keras 2 models out: the only room that imports `tf_keras` and tensorflow-model-optimization."""
