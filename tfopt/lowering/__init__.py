"""A Keras model in, one traced function of operations that have int8 kernels out."""
