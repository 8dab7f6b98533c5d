"""Qdrant: a server's collections, its client's models, and its engine inside this process.

::

    schema       collections made the right way, and the card that says which model filled them
    registry     import it, and qdrant-client knows our model in models.Document
    search       points and searches beside a client of your own, sync and async
    store        a collection on a server as a Store
    embedded     a folder as a Store; collections adds names and aliases
    doctor       what is wrong, each with its fix
"""
