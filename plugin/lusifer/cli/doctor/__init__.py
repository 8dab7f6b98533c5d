"""``lusifer doctor``: finds faults in the setup of a database."""
