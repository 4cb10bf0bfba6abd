"""Plugins that Hydra finds: nothing here imports torch before a sweep starts."""
