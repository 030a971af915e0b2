"""The pages: short where they should be, in plain English, with links that lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

README = ROOT / "README.md"
# Words that were translated and not written.
STILTED = re.compile(r"\b(anew|told at|tells of|[Ww]ho has|so that who)\b")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
# What a browser loads by itself; a link that somebody follows is none of it.
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(https?:[^"' >]+)"""
    r"""|<link\b[^>]*\brel=["']?(?:stylesheet|preconnect)\b[^>]*\bhref=["']?(https?:[^"' >]+)"""
    r"""|<link\b[^>]*\bhref=["']?(https?:[^"' >]+)["']?[^>]*\brel=["']?(?:stylesheet|preconnect)\b"""
    r"""|url\(["']?(https?:[^"')]+)"""
)


def test_readme_is_short() -> None:
    assert len(README.read_text().split()) < 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_english(page: Path) -> None:
    assert STILTED.findall(page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_readme_leads_to_every_page_for_users() -> None:
    pages = {str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")}
    about = {"docs/changelog.md", "docs/contributing.md"}  # the files themselves are linked
    reached = set(LINK.findall(README.read_text())) | set(linked_from(ROOT / "docs" / "index.md"))
    within = {link for page in PAGES for link in linked_from(page)}
    assert pages - about <= reached | within


def linked_from(page: Path) -> Iterator[str]:
    """What a page links to, from the root."""
    for link in LINK.findall(page.read_text()):
        if "://" not in link:
            yield str((page.parent / link).resolve().relative_to(ROOT))


def test_every_picture_is_shown() -> None:
    shown = {Path(link).name for page in PAGES for link in LINK.findall(page.read_text())}
    pictures = {
        path.name for folder in ("screenshots", "pictures") for path in (ROOT / "docs" / folder).iterdir()
    }
    assert pictures <= shown


def test_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")  # is not in the environments of `make matrix`
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").exists()
    for path in [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]:
        assert LOADED.findall(path.read_text()) == [], path


def test_long_description_leads_to_where_the_source_is() -> None:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())
    source = configuration["project"]["urls"]["Source"]
    hook = configuration["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    (substitution,) = hook["substitutions"]
    assert source in substitution["replacement"]
    text = re.sub(substitution["pattern"], substitution["replacement"], README.read_text())
    assert [link for link in LINK.findall(text) if not link.startswith(source)] == []
