"""Sweeps: their jobs, batches of jobs, and the tables and pictures of their results."""
