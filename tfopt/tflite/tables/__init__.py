"""An int8 file in, the file with chains of elementwise operations as tables of 256 values out."""
