"""The commands `reludyn`, which is `python -m reludyn`, too, and `reludyn-figures`.

What they need is imported late: a Ctrl-C meanwhile has its answer as well.
"""

from reludyn.signals import answered, heed


def main() -> None:
    """`reludyn OVERRIDES`."""
    with answered("reludyn"):
        from reludyn.cli import main

        main()


def figures() -> None:
    """`reludyn-figures RUN_DIR ... [--picture NAME] [--replica J]`."""
    with answered("reludyn-figures"):
        from reludyn.redraw import main

        heed()
        main()


if __name__ == "__main__":
    main()
