"""A calibrated TFLite file and representative samples in, better ranges and weights out."""
