"""What a run leaves behind: observations, files, event files, progress."""
