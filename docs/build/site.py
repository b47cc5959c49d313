"""The site of the documents: everything that README.md leads to, as pages that need no other server.

python -m docs.build.site site/

Pages lie in the site as their sources lie in the repository, so links between them stay as they are. A source file that
a document links to becomes a page that shows it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from docs.build.pages import REPOSITORY
from scripts.release.distributions import version_of

LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?(\))")
AS_THEY_ARE = {".jpg", ".json", ".md", ".png", ".svg"}
"""Endings of what a browser shows, and of the pages."""
LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".sh": "bash", ".hpp": "cpp"}


def site_sources(start: str = "README.md") -> dict[str, bytes]:
    """The pages and images that a document leads to, by their paths in the site.

    Args:
        start: the document, as a path from the top of the repository.

    Raises:
        FileNotFoundError: a link leads nowhere.
    """
    found: dict[str, bytes] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        path = REPOSITORY / name
        if _page_of(name) in found:
            continue
        if path.suffix == ".md":
            text = path.read_text(encoding="utf-8")
            found[name] = _for_the_site(text).encode()
            for _, target, _, _ in LINK.findall(text):
                waiting.append((path.parent / target).resolve().relative_to(REPOSITORY).as_posix())
        elif path.suffix in AS_THEY_ARE:
            found[name] = path.read_bytes()
        else:
            found[_page_of(name)] = _source_page(path).encode()
    return found


def build_site(out: Path) -> None:
    """Build the site into a folder, which is replaced.

    Raises:
        FileNotFoundError: a document links to a file that is not there.
        subprocess.CalledProcessError: Zensical failed; it has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, content in site_sources().items():
            path = Path(folder) / "pages" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        settings: dict[str, Any] = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))
        settings |= {"docs_dir": "pages", "site_dir": "site", "site_name": f"sal {version_of(REPOSITORY)}"}
        (Path(folder) / "mkdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        subprocess.run([sys.executable, "-m", "zensical", "build", "--clean"], cwd=folder, check=True)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(Path(folder) / "site", out)


def _page_of(name: str) -> str:
    """The path in the site of a file of the repository; setup.py knows the same rule."""
    return name if Path(name).suffix in AS_THEY_ARE else f"{name}.md"


def _for_the_site(text: str) -> str:
    """A document whose links to source files lead to the pages that show them."""
    return LINK.sub(lambda link: f"{link[1]}{_page_of(link[2])}{link[3] or ''}{link[4]}", text)


def _source_page(path: Path) -> str:
    """A source file, or the names in a folder, as a page; the search leaves it out."""
    text = "\n".join(sorted(one.name for one in path.iterdir())) if path.is_dir() else path.read_text(encoding="utf-8")
    title = path.relative_to(REPOSITORY).as_posix()
    fence, language = "`" * 4, LANGUAGES.get(path.suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n\n# {title}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def main() -> None:
    """Build the site."""
    parser = argparse.ArgumentParser(prog="python -m docs.build.site", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the site; it is replaced")
    build_site(parser.parse_args().out)


if __name__ == "__main__":
    main()
