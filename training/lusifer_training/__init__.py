"""Training of LUSIFER: both stages, the language subspace, and the checkpoints that they make."""
