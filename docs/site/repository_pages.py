"""MkDocs hook: pages of the repository outside docs/, and links between all pages.

README.md becomes the first page. The pages of ``PAGES`` are read where they are, so no copy is
kept. A link from any page to another file of the repository, such as a benchmark, leads to a
generated page that shows the file; a link to a folder leads to a list of its files.
"""

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.structure.files import File, Files
from notebook_page import notebook_page

ROOT = Path(__file__).parents[2]
#: Pages outside docs/, by their path in the repository: their path on the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "examples/quickstart.ipynb": "examples/quickstart.md",
    "examples/own_images.md": "examples/own_images.md",
    "examples/own_network.md": "examples/own_network.md",
}
#: Folders of which every Python file gets a page, whether or not a page links to it.
SHOWN = ("benchmarks",)
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?(\))")
#: Languages of the files that are shown on a page; other files of docs/ are on the site themselves.
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".yml": "yaml"}
#: Path in the repository of each page of this module, by its path on the site.
_origins: dict[str, str] = {}


def on_files(files: Files, config) -> Files:
    """Add the pages outside docs/, then a page for each file that a page links to."""
    for origin, place in PAGES.items():
        _origins[place] = origin
        if origin.endswith(".ipynb"):
            text, pictures = notebook_page(ROOT / origin)
            for name, content in pictures.items():
                uri = posixpath.join(posixpath.dirname(place), name)
                files.append(File.generated(config, uri, content=content))
        else:
            text = (ROOT / origin).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=text))
    for origin in sorted({*_linked(files), *_shown()}):
        place = _place(origin)
        if place is not None and files.get_file_from_path(place) is None:
            _origins[place] = origin
            files.append(File.generated(config, place, content=_shown_page(origin)))
    return files


def on_page_markdown(markdown: str, page, **_) -> str:
    """Turn links to files of the repository into links to pages of the site."""
    here = page.file.src_uri
    if here.startswith(("source/", "commands/", "python/")):
        return markdown

    def replace(match: re.Match) -> str:
        start, target, anchor, end = match.groups()
        place = _place(_in_repository(here, target))
        if place is None:
            return match[0]
        relative = posixpath.relpath(place, posixpath.dirname(here) or ".")
        return f"{start}{relative}{anchor or ''}{end}"

    parts = _FENCED.split(markdown)
    return "".join(part if i % 2 else _LINK.sub(replace, part) for i, part in enumerate(parts))


def _linked(files: Files) -> Iterator[str]:
    """Paths in the repository of all files that a page links to."""
    for file in files.documentation_pages():
        for part in _FENCED.split(file.content_string)[::2]:
            for _, target, _, _ in _LINK.findall(part):
                yield _in_repository(file.src_uri, target)


def _shown() -> Iterator[str]:
    for folder in SHOWN:
        yield folder
        yield from (f"{folder}/{path.name}" for path in (ROOT / folder).glob("*.py"))


def _in_repository(page: str, target: str) -> str:
    """Path in the repository of the target of a link on a page of the site."""
    if ":" in target:  # an address
        return target
    folder = posixpath.dirname(_origins.get(page, f"docs/{page}"))
    return posixpath.normpath(posixpath.join(folder, target))


def _place(origin: str) -> str | None:
    """Path on the site of a file or folder of the repository; None if it has no page."""
    if origin in PAGES:
        return PAGES[origin]
    path = ROOT / origin
    if ":" in origin or origin.startswith("..") or not path.exists():
        return None
    if path.is_dir():
        inside = f"{origin}/README.md"
        return _place(inside) if (ROOT / inside).exists() else f"source/{origin}.md"
    if origin.startswith("docs/") and path.suffix not in _LANGUAGES:
        return origin.removeprefix("docs/")
    return f"source/{origin}.md"


def _shown_page(origin: str) -> str:
    """A page that shows a file, or lists the Python files of a folder with their purpose."""
    path = ROOT / origin
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        return f"# {origin}\n\n````{_LANGUAGES.get(path.suffix, '')}\n{text.rstrip()}\n````\n"
    lines = [f"# {origin}/", "", "| file | content |", "|---|---|"]
    for file in sorted(path.glob("*.py")):
        summary = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n")
        lines.append(f"| [{file.name}]({path.name}/{file.name}.md) | {summary[0]} |")
    return "\n".join(lines) + "\n"
