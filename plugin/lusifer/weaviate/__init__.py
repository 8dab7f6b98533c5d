"""Weaviate: collections that embed with LUSIFER, fast ingest, search and diagnosis.

``from lusifer.weaviate import vectors`` gives the vector configuration for a program's own call of
``client.collections.create``. The modules below hold the rest.
"""

from lusifer.weaviate.schema import vectors

__all__ = ["vectors"]
