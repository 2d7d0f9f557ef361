"""From a layer to the tensors between its borders, each rounded as in the int8 file."""
