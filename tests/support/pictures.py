"""Pictures that are drawn fast: the fonts of a PDF take a second, as users have them."""

from __future__ import annotations

from reludyn.figures.style import STYLE

FONTS = STYLE["pdf.fonttype"]


def draw_fast() -> None:
    """Have PDFs hold outlines of letters instead of whole fonts, in this process."""
    STYLE["pdf.fonttype"] = 3
