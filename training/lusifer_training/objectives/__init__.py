"""The two stages of training, by their objectives."""
