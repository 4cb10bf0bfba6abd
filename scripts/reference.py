"""Write docs/reference.md anew from the settings."""

from pathlib import Path

from reludyn.reference import reference_text

if __name__ == "__main__":
    path = Path(__file__).parents[1] / "docs" / "reference.md"
    path.write_text(reference_text(), encoding="utf-8")
    print(path)
