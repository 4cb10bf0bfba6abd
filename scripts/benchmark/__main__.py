"""Compare this project with scripts that researchers would write: outputs/bench/table.md."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from reludyn.system.errors import ConfigError
from scripts.benchmark.cases import FORMS, QUICK, STANDARD, Case, parse_case
from scripts.benchmark.machine import measure_ceilings
from scripts.benchmark.run import Disagreement, benchmark


class Parser(argparse.ArgumentParser):
    """Parser whose errors have one line."""

    def error(self, message: str) -> NoReturn:
        sys.exit(f"benchmark: error: {message}")


def case(text: str) -> list[Case]:
    try:
        return parse_case(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def positive(text: str) -> float:
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(f"{text}: must be > 0")
    return float(text)


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see whether all of it works"
    )
    parser.add_argument("--cases", nargs="+", type=case, metavar="CASE", help=FORMS)
    parser.add_argument("--repeats", type=int, choices=range(1, 101), metavar="N", default=7)
    parser.add_argument("--seconds", type=positive, default=0.2, help="seconds per repeat")
    parser.add_argument("--output", type=Path, default=Path("outputs/bench"), metavar="FOLDER")
    given = parser.parse_args()
    os.environ["MPLBACKEND"] = "agg"  # a notebook may have left another backend there
    cases = [one for some in given.cases for one in some] if given.cases else STANDARD
    try:
        if given.quick:
            cases = cases if given.cases else QUICK
            benchmark(given.output, cases, measure_ceilings(256, 16), 1, 1e-5, lr=0.1)
        else:
            benchmark(given.output, cases, measure_ceilings(), given.repeats, given.seconds)
    except (Disagreement, ConfigError) as error:
        sys.exit(f"benchmark: error: {error}")
    print(f"table   {given.output / 'table.md'}")


if __name__ == "__main__":
    main()
