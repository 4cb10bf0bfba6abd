"""The commands `reludyn`, which is `python -m reludyn`, too, and `reludyn-figures`.

What they need is imported late: a Ctrl-C meanwhile has its answer as well.
"""

import os
import sys

from reludyn.signals import answered, heed

# pictures are files: a notebook leaves the name of its own backend, which may not be installed here
os.environ["MPLBACKEND"] = "agg"

# what a daemon starts may have closed streams: its files would get their numbers, and its output
for name in ("stdin", "stdout", "stderr"):
    if getattr(sys, name) is None:
        null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        setattr(sys, name, os.fdopen(null, "r" if name == "stdin" else "w", encoding="utf-8"))


def main() -> None:
    """`reludyn OVERRIDES`."""
    with answered("reludyn"):
        from reludyn.cli import main

        main()


def figures() -> None:
    """`reludyn-figures RUN_DIR ... [--picture NAME] [--replica J]`."""
    with answered("reludyn-figures"):
        try:
            from reludyn.redraw import main  # imports matplotlib
        except (OSError, ValueError) as error:  # no folder for its cache, a broken matplotlibrc
            from reludyn.errors import why

            sys.exit(f"reludyn-figures: error: {why(error)}")
        heed()
        main()


if __name__ == "__main__":
    main()
