"""Reads documents from files and fills a store with them."""
