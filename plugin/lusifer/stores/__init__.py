"""The contract of a vector store, and what every store shares."""
