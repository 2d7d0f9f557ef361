"""Arrays, datasets, generators, files or folders of images in, checked samples of a model's inputs out."""
