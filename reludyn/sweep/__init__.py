"""Sweeps: their jobs, jobs that go as one batch, and the table and pictures of their results."""
