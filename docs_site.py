"""MkDocs' hook for `make docs`: the files at the top are pages as well, and a link to code is its name."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent
_DOCS = "docs"
_TOP = {"README.md": "index.md", "ARCHITECTURE.md": "", "DATABASE_SETUP.md": "", "CHANGELOG.md": ""}
# [words](target#anchor), and ![words](target)
_LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s#]+)(#[^)\s]*)?\)")
# What a test reads and nobody else.
_REMARK = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The decisions are listed by themselves."""
    decisions = sorted((ROOT / _DOCS / "decisions").glob("*.md"))
    config.nav = [*(config.nav or []), {"Why it is so": [f"decisions/{each.name}" for each in decisions]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """README and its neighbours, as if they were in docs/."""
    for name, shown_as in _TOP.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, shown_as or name, content=_REMARK.sub("", text)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links as they have to be here: each file says them from where it stands in the repository."""
    uri = page.file.src_uri
    original = next((name for name, shown_as in _TOP.items() if (shown_as or name) == uri), f"{_DOCS}/{uri}")
    here, folder = posixpath.dirname(original), posixpath.dirname(uri)

    def moved(link: re.Match[str]) -> str:
        words, target, anchor = link[1], link[2], link[3] or ""
        if "://" in target:
            return link[0]
        path = posixpath.normpath(posixpath.join(here, target))
        if path in _TOP:
            path = f"{_DOCS}/{_TOP[path] or path}"
        if not path.startswith(f"{_DOCS}/") or not (path.endswith((".md", ".svg"))):
            # Code is not part of the site.
            return words[1:-1] if words.startswith("[") else words
        return f"{words}({posixpath.relpath(path.removeprefix(f'{_DOCS}/'), folder or '.')}{anchor})"

    return _LINK.sub(moved, _REMARK.sub("", markdown))
