"""Put generated pages into the navigation of mkdocs.yml."""


def put_pages(nav: list, place: str, pages: list[str]) -> None:
    """Replace the target of the entry ``Title: place`` by a list of pages, in the second level."""
    for section in nav:
        for entries in section.values():
            for entry in entries if isinstance(entries, list) else ():
                for title, target in entry.items() if isinstance(entry, dict) else ():
                    if target == place:
                        entry[title] = pages
