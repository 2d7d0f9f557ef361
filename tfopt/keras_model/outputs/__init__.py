"""Models that end earlier: without the last softmax or sigmoid, or before the last concatenation."""
