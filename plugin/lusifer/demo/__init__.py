"""The demonstration: searches real English documents with questions in other languages."""
