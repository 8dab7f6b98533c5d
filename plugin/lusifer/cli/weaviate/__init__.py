"""``lusifer weaviate``: creates collections on a Weaviate server."""
