"""Write docs/reference.md anew, and the tags in docs/glossary.md."""

from pathlib import Path

from reludyn.reference import reference_text, with_tags

if __name__ == "__main__":
    docs = Path(__file__).parents[1] / "docs"
    glossary = (docs / "glossary.md").read_text(encoding="utf-8")
    for path, text in (
        (docs / "reference.md", reference_text()),
        (docs / "glossary.md", with_tags(glossary)),
    ):
        path.write_text(text, encoding="utf-8")
        print(path)
