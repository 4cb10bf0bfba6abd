"""`hydra/launcher=submitit_local` without starting every job of a sweep at once."""
