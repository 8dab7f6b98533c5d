"""Engines run the graph of a bundle; each is one module and keeps the contract in :mod:`.base`."""
