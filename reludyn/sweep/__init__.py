"""Sweeps: their jobs, jobs that go as one batch, the table of their results."""
