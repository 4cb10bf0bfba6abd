"""The benchmark: this project beside scripts that researchers write, and the machine's limits."""
