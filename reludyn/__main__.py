"""`python -m reludyn` is the command `reludyn`."""

from reludyn.cli import main

if __name__ == "__main__":
    main()
