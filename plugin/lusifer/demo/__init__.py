"""The demonstration: real English documents, and questions in other languages."""
