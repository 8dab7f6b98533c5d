"""A Qdrant server: its collections, and the models of its client.

::

    connection   clients, and their errors as ours
    schema       collections with the right vectors, and aliases
    metadata     what a collection says about the model that filled it
    registry     import it, and qdrant-client knows our model in models.Document
    search       points and searches beside a client of your own, sync and async
    store        a collection on a server as a Store
    doctor       what is wrong, each with its fix

The engine inside this process is in :mod:`lusifer.embedded`.
"""
