"""A SavedModel folder in, an error out if its graph could do more than compute."""
