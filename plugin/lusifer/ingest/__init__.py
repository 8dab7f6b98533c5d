"""From files to a filled store."""
