"""A Triton model repository from a bundle: configurations, versions and the tokenizer's model."""
