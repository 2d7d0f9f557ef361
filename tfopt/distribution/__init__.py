"""Many devices, many machines: a launcher of workers, and strategies under which Keras trains on all of them."""
