"""Theory: what is known of a trajectory without training."""
