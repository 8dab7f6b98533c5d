"""Re-embedding from and to a Qdrant server."""
