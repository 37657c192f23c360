"""Checks of the machine and the installation (``workbench doctor``).

``checks`` has the table of checks and calls them; each is a function that returns ``Line`` records.
A library that cannot be loaded costs one line, so every import of a library is inside a check.
"""
