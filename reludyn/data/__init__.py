"""Sources of samples (X, Y); the population limit needs none."""
