"""What pyproject.toml cannot say: on an index page, the links of README.md lead to the documents on the web."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
SITE = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Documentation"]


def on_the_web(link: re.Match[str]) -> str:
    """A link into the repository as one to the site, whose pages lie as their sources do (docs/build/site.py)."""
    path, mark, anchor = link[1].partition("#")
    page = re.sub(r"README\.md$", "index.html", path) if path.endswith("README.md") else path.replace(".md", ".html")
    if not re.search(r"\.(html|jpg|png|svg)$", page):
        page += ".html"
    return f"]({SITE}/{page}{mark}{anchor})"


text = (HERE / "README.md").read_text(encoding="utf-8")
setup(
    long_description=re.sub(r"\]\((?!https?:|#)([^)]+)\)", on_the_web, text),
    long_description_content_type="text/markdown",
)
