"""Cross-lingual evaluation: models, tasks, metrics and tables."""
