"""Tests: one folder for each package, and helpers, oracles, whole commands, pages, repository."""
