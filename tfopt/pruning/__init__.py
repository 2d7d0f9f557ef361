"""Pruning: schedules, masks, and the callback that holds zeros while a Keras 3 model trains."""
