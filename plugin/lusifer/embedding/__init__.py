"""From a text to its vector; knows no store and no server."""
