"""The vectorizer service: one model behind the protocols of both databases."""
