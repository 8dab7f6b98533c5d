"""Shared helpers for every package; they import only libraries, errors and types."""
