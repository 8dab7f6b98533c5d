"""Weaviate: collections that embed with LUSIFER, fast ingest, search, doctor.

``from lusifer.weaviate import vectors`` gives the vector of a collection for the team's own
``client.collections.create``; the modules below have the rest.
"""

from lusifer.weaviate.schema import vectors

__all__ = ["vectors"]
