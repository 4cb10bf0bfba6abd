"""The commands `reludyn`, which is `python -m reludyn`, too, and `reludyn-figures`.

What they need is imported late: a Ctrl-C meanwhile has its answer as well.
"""

from reludyn.start import open_streams, refuse_shadows


def main() -> None:
    """`reludyn OVERRIDES`."""
    open_streams()
    from reludyn.signals import answered

    with answered("reludyn"):
        from reludyn.cli import main

        main()


def figures() -> None:
    """`reludyn-figures RUN_DIR ... [--picture NAME] [--replica J]`."""
    open_streams()
    from reludyn.signals import answered, heed

    with answered("reludyn-figures"):
        from reludyn.redraw import main

        heed()
        main()


if __name__ == "__main__":
    open_streams()
    refuse_shadows()
    main()
