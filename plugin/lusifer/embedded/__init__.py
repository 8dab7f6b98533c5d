"""The vector store inside the process: Qdrant's engine on a folder."""
