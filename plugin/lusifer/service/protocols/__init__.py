"""One module for each protocol: its bodies, and how they map to texts and a role."""
