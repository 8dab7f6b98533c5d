"""One file for each protocol; all embed through the same core."""
