"""An int8 file in, the file with its islands of float operations as integers out: as tables of 256 values, or as they are."""
