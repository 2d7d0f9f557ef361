"""The parts of an output: which values belong together, and how far each part is off."""
