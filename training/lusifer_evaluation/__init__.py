"""Cross-lingual evaluation: what embeds, what is measured, and one table of both."""
