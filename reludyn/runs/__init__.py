"""Finished runs: their folders, files and columns, and how they are read."""
