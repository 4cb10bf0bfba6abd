"""Pictures drawn from the files of a run; nothing here trains."""
