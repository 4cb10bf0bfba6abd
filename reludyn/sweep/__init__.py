"""What a sweep leaves beside its jobs: tables, pictures, HPARAMS; no torch is needed for it."""
