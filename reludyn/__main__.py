"""The commands `reludyn`, which is `python -m reludyn`, too, and `reludyn-figures`.

What they need is imported late, so that a Ctrl-C meanwhile is answered as well.
"""

import os
import sys

from reludyn.system.start import open_streams, refuse_shadows

# pictures are files: a notebook leaves the name of its own backend, which may not be installed here
os.environ["MPLBACKEND"] = "agg"


def main() -> None:
    """Run the command `reludyn OVERRIDES`."""
    open_streams()
    from reludyn.system.signals import answered

    with answered("reludyn"):
        from reludyn.cli import main

        main()


def figures() -> None:
    """Run the command `reludyn-figures RUN_DIR ... [--picture NAME] [--replica J]`."""
    open_streams()
    from reludyn.system.signals import answered, heed

    with answered("reludyn-figures"):
        try:
            from reludyn.figures.__main__ import main  # imports matplotlib
        except (OSError, ValueError) as error:  # no folder for its cache, a broken matplotlibrc
            from reludyn.system.errors import why

            sys.exit(f"reludyn-figures: error: {why(error)}")
        heed()
        main()


if __name__ == "__main__":
    open_streams()
    refuse_shadows()
    main()
