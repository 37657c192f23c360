"""Turn a notebook into a page: its text, its code, and the outputs that are stored in it."""

import base64
import json
from pathlib import Path


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return the page as Markdown, and its pictures by file name.

    A cell that draws has the picture's description in its metadata, as ``alt``.
    """
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![{cell['metadata']['alt']}]({name})")
            elif said := "".join(output.get("text") or data.get("text/plain", "")).rstrip():
                parts.append(f"```text\n{said}\n```")
    return "\n\n".join(parts) + "\n", pictures
