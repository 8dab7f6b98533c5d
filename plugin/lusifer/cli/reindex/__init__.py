"""``lusifer reindex``: moves a live collection from one model to another."""
