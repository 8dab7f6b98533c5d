"""Training data: JSON lines to English texts and pairs, and the batches a run takes from them."""
