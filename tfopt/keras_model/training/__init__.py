"""A Keras 3 model that trains goes in; its backups come out whole, so that a run that was killed continues as if it was not."""
