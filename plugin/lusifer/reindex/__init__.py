"""Re-embedding of live collections: nothing lost, nothing stale, reversible."""
