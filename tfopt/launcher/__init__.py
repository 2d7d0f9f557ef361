"""A training script in, one process a worker on one or several machines out."""
