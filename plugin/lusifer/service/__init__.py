"""The vectorizer service: one model behind the protocols of both databases.

The way of one text, which passes each module once and never returns to an earlier one::

    server, app          process, model, paths
        │
    connections          number of connections, limits of each (connection), web pages (browsers)
        │
    routing              API key (auth), body (bodies), answer and errors (answers)
        │
    protocols/           body -> texts and role
        │
    embedding_service    limits, queue and rate (admission), bytes (in_flight), deadline
        │
    prepared_texts       each text once: vectors from cache, disk_cache, or token rows
        │
    batcher, queue       rows of many requests in one batch under a token budget
        │
    lusifer.engines      token ids -> vectors

The vectors take the same way back as return values. On it ``prepared_texts`` joins them in the
order of the request and fills the cache.

Other modules serve this way: ``worker_lanes`` has the threads, ``canary`` checks the model,
``metrics``, ``logs`` and ``tracing``
record requests without their texts, ``openapi`` and ``page`` describe the service.
"""
