"""Re-embedding from and to collections of the embedded store."""
