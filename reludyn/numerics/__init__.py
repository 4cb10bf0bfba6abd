"""Arithmetic on tensors and arrays that knows nothing of training."""
