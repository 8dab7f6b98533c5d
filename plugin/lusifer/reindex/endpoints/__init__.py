"""The two ends of a re-embedding, for each kind of store."""
