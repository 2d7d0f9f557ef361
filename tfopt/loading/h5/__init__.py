"""An HDF5 file of Keras 1 or 2 in, a Keras 2 model with verified weights out."""
