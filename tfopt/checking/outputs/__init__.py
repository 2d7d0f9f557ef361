"""Inputs and outputs of a file, each of which has one scale: which values belong together, and which the scale does not fit."""
