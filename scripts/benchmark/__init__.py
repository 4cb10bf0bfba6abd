"""The benchmark: this project against the scripts that researchers would write, and the machine."""
