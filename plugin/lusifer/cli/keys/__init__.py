"""``lusifer keys``: manages the API keys of the service."""
