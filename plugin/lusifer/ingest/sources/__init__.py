"""Readers of document files, one for each format."""
