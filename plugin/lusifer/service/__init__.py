"""The vectorizer service: one model behind the protocols of both databases.

The way of one text, which passes each module once and never returns to an earlier one::

    server, app          process, model, paths
        │
    routing              body limit, API key (auth), errors in the protocol's form
        │
    protocols/           body -> texts and role
        │
    embedding_service    limits, queue and rate (admission), deadline
        │
    prepared_texts       each text once: vectors from cache, disk_cache, or token rows
        │
    batcher, queue       rows of many requests in one batch under a token budget
        │
    lusifer.engines      token ids -> vectors

The answer takes the way back as return values. Beside the way stand :mod:`canary` (checks the
model), :mod:`metrics`, :mod:`logs` and :mod:`tracing` (never contain a text), :mod:`openapi` and
:mod:`page` (describe the service), and :mod:`settings`.
"""
