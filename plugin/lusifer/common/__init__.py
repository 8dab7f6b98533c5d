"""What every other package may use: the standard library, errors and types; no vendor name."""
