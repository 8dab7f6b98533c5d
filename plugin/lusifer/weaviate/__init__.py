"""Weaviate: collections that embed with LUSIFER, fast ingest, search, doctor."""
