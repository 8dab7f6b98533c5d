"""Qdrant: the embedded store that runs inside this process."""
