"""``lusifer qdrant``: creates collections on a Qdrant server or in a folder."""
