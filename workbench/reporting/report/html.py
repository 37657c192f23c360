"""Render a page to one HTML file that fetches nothing.

Vega-Lite, which draws the charts, is embedded once. A Content-Security-Policy forbids every request
and every script but the two of this page, which it names by their hashes: text that looked like a
script would not run even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict
from functools import cache
from importlib import resources
from typing import Any

from workbench.errors import printable
from workbench.reporting.report.page import Chart, Page

#: Characters that could end a script element or a line of it.
_ESCAPED = "<>&\u2028\u2029"


def render(page: Page) -> str:
    """The page as the text of an HTML file."""
    library, script = _library(), _own("report.js")
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in (library, script))
    return str(
        _template().render(
            page=page,
            library=library,
            script=script,
            style=_own("report.css"),
            policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            f"script-src {hashes}; base-uri 'none'; form-action 'none'",
        )
    )


def json_in_html(value: Any) -> str:
    """JSON for a ``<script>`` element that is not executed: nothing in it can end the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in _ESCAPED:
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def data_uri(png: bytes) -> str:
    """A PNG file as an address that contains it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _chart_json(chart: Chart) -> str:
    views = [asdict(view) for view in chart.views]
    return json_in_html(_shown({"spec": chart.spec, "views": views}))


def _shown(value: Any) -> Any:
    """Plain data whose texts have no characters that steer a terminal or turn the text."""
    if isinstance(value, str):
        return printable(value, None)
    if isinstance(value, dict):
        return {name: _shown(each) for name, each in value.items()}
    return [_shown(each) for each in value] if isinstance(value, (list, tuple)) else value


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _library() -> str:
    """The JavaScript of Vega, Vega-Lite and Vega-Embed; it needs a second to be bundled."""
    import vl_convert

    # Nothing in the library may end its own element.
    library = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # the snippet is optional
    return library.replace("</script", "<\\/script").replace("\r", "")


@cache
def _own(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(_own),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Characters that steer a terminal or turn the direction of the text are shown as codes.
        finalize=lambda value: printable(value, None) if type(value) is str else value,
    )
    environment.filters["verbatim"] = Markup
    environment.filters["chart_json"] = lambda chart: Markup(_chart_json(chart))
    environment.filters["data_uri"] = lambda png: Markup(data_uri(png))
    environment.filters["kind"] = lambda block: type(block).__name__
    return environment.get_template("report.html.j2")
