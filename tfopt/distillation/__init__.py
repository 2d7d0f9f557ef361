"""A teacher and a student in, a trained student out."""
