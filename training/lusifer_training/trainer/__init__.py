"""The training loop and what it keeps: steps, processes, run state, metrics, validation."""
