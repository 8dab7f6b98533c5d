"""Re-embedding from and to a Weaviate server."""
