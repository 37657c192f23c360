"""The documentation site: it builds without warnings, fetches nothing, and can be searched."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import workbench
from workbench.cli.commands import app

ROOT = Path(workbench.__file__).parents[1]
CONFIG = ROOT / "docs/site/mkdocs.yml"

pytestmark = [
    pytest.mark.skipif(not CONFIG.is_file(), reason="needs the docs of a checkout"),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("material", "mkdocstrings")),
        reason="needs the extra 'docs'",
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built as 'make docs' does."""
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: it also hides warnings from --strict.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    command += ["--config-file", str(CONFIG), "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


def pages(site):
    """The text of each page, by its path, without code."""
    for path in sorted(site.rglob("*.html")):
        text = path.read_text()
        body = re.sub(r"<(pre|code|script)\b.*?</\1>", "", text, flags=re.DOTALL)
        yield path.relative_to(site).as_posix(), body


def test_markdown_of_the_repository_is_markdown_of_the_site(site):
    left = []
    for name, text in pages(site):
        if re.search(r"</table>\s*<ol>", text):
            left.append((name, "a table that is not indented ends the list around it"))
        for paragraph in re.findall(r"<(?:p|li)>(.*?)</(?:p|li)>", text, re.DOTALL):
            left += [
                (name, line)
                for line in paragraph.splitlines()
                if re.match(r"\s*([-*|]|\d+\.) |.*(```|\*\*|\]\()", line)
            ]
    assert left == []


def test_every_command_and_public_name_has_an_entry(site):
    for command in (*app.registered_commands, *app.registered_groups):
        page = (site / f"commands/{command.name}.html").read_text()
        assert f"workbench {command.name}" in page
    adapt = (site / "commands/adapt.html").read_text()
    assert "<code>--batch-size</code>" in adapt
    assert "<code>--strict</code>, <code>--no-strict</code>" in adapt
    functions = (site / "python/index.html").read_text()
    names = [name for name in workbench.__all__ if name != "pfa"]
    assert all(f'id="workbench.{name}"' in functions or f'.{name}"' in functions for name in names)


def test_an_entry_for_two_names_becomes_two_entries(site):
    text = re.sub(r"<[^>]*>|\s+", " ", (site / "python/options.html").read_text())
    for name in ("data_dir", "domains"):
        assert re.search(rf"\b{name} +\( *Path +\| +None *\)", re.sub(" +", " ", text)), name


def test_links_that_leave_docs_lead_to_pages(site):
    text = (site / "small-networks.html").read_text()
    card = "source/workbench/compression/methods/pfa_cost.py.html"
    assert f'href="{card}"' in text
    assert (site / card).is_file()
    assert 'href="examples/quickstart.html"' in (site / "index.html").read_text()
    assert (site / "examples/quickstart-1.png").is_file()


@pytest.fixture
def opened(browser, site):
    """A page of the site, opened as a file; returns it and the addresses that it asked for."""
    contexts = []

    def open_page(name, **options):
        contexts.append(browser.new_context(**options))
        page, asked = contexts[-1].new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / name).as_uri())
        page.wait_for_load_state("networkidle")
        return page, asked

    yield open_page
    for context in contexts:
        context.close()


def test_nothing_is_fetched_from_elsewhere(opened, site):
    for name in ("index.html", "commands/adapt.html", "python/pfa.html", "results/index.html"):
        _, asked = opened(name)
        assert asked
        assert [url for url in asked if not url.startswith(site.as_uri())] == []


def test_the_search_works_without_a_server(opened):
    page, asked = opened("index.html")
    page.click(".md-search__input")
    page.keyboard.type("compensation")
    first = page.locator(".md-search-result__item").first
    first.wait_for()
    assert "ompensat" in first.inner_text()
    assert not [url for url in asked if not url.startswith("file:")]


def test_dark_colours_follow_the_system(opened):
    def brightness(scheme):
        page, _ = opened("using.html", color_scheme=scheme)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3])

    assert brightness("dark") < 200 < 600 < brightness("light")


def test_a_phone_scrolls_no_page_sideways(opened):
    for name in ("index.html", "commands/adapt.html", "results/index.html"):
        page, _ = opened(name, viewport={"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
