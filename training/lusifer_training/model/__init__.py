"""The model, in the order a text meets it: encoder, connector, LLM layers, pooling, head."""
