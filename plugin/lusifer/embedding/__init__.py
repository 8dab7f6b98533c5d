"""Turns texts into vectors; knows no store and no server."""
