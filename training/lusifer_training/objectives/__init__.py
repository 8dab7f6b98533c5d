"""The losses of both stages of training."""
