"""Engines run the graph of a bundle; each is one file, and all keep the contract in :mod:`.base`."""
