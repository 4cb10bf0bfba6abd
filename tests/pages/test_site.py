"""The documentation site: built strictly, whole, and without anything from elsewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import reludyn
from tests.support.documents import PAGES, ROOT

for name in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
    pytest.importorskip(name, reason=f"{name} is not installed: make docs")

LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href"}


class Page(HTMLParser):
    """The tags of a page, its anchors, and what a browser loads with it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.anchors: set[str | None] = set()
        self.loads: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.anchors.add(given.get("id"))
        if given.get(LOADED.get(tag, "")):
            self.loads.append(str(given[LOADED[tag]]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {page: Page(site / f"{Path(page).stem}.html") for page in PAGES}


@pytest.fixture(scope="module")
def formulas() -> ModuleType:
    spec = importlib.util.spec_from_file_location("formulas", ROOT / "scripts" / "formulas.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert [path for path in page.loads if re.match(r"(\w+:)?//", path)] == [], name
        assert any(path.endswith(".css") for path in page.loads), name
    for sheet in site.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)]*", sheet.read_text())
        assert found == [], sheet


@pytest.mark.slow
def test_nothing_is_taken_for_a_tag(pages: dict[str, Page]) -> None:
    """An inner product <w_i, a> in a sentence would vanish."""
    for name, page in pages.items():
        assert [tag for tag in page.tags if not re.fullmatch(r"[a-z][a-z0-9]*", tag)] == [], name


@pytest.mark.slow
def test_formulas_are_drawn(site: Path, pages: dict[str, Page]) -> None:
    for page in PAGES:
        text = re.sub(r"^```.*?^```|`[^`\n]*`", "", (ROOT / page).read_text(), flags=re.S | re.M)
        dollars = text.replace("$$", "$").count("$")
        assert pages[page].tags.count("math") == dollars / 2, page
        assert "$$" not in (site / f"{Path(page).stem}.html").read_text()


@pytest.mark.slow
def test_every_public_name_is_described(pages: dict[str, Page]) -> None:
    assert {f"reludyn.{name}" for name in reludyn.__all__} <= pages["docs/api.md"].anchors


@pytest.mark.slow
def test_a_link_that_leads_nowhere_fails(tmp_path: Path) -> None:
    """Also one to a heading that is not there."""
    settings = (ROOT / "mkdocs.yml").read_text()
    for line in ("docs_dir: docs", "site_dir: site"):
        assert line in settings
    kept = re.sub(r"^nav:.*?(?=^validation)", "", settings, flags=re.S | re.M)
    kept = re.sub(r"^plugins:.*?(?=^markdown)", "", kept, flags=re.S | re.M)
    (tmp_path / "mkdocs.yml").write_text(kept)
    (tmp_path / "docs").mkdir()
    for link, broken in (("#there", False), ("#nowhere", True), ("other.md", True)):
        (tmp_path / "docs" / "index.md").write_text(f"# A\n[x]({link})\n\n## There\n")
        command = [sys.executable, "-m", "mkdocs", "build"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
        assert (done.returncode != 0) == broken, done.stderr


def test_a_formula_that_cannot_be_drawn_fails(formulas: ModuleType) -> None:
    from mkdocs.exceptions import PluginError

    page = SimpleNamespace(file=SimpleNamespace(src_path="some.md"))
    for formula in (r"\nonsense{x}", r"\frac{1", r"\left( x"):
        html = rf'<span class="arithmatex">\({formula}\)</span>'
        with pytest.raises(PluginError, match=r"some\.md"):
            formulas.on_page_content(html, page=page)


def test_bars_belong_together(formulas: ModuleType) -> None:
    """So that a browser draws them as high as what is between them."""
    drawn = formulas.mathml(r"\lVert \frac{1}{2} \rVert_F + \left\lvert x \right\rvert", "inline")
    assert re.findall(r'form="(\w+)">&#x(?:02016|0007C);', drawn) == ["prefix", "postfix"] * 2
