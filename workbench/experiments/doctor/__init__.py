"""Checks of the machine and the installation (``workbench doctor``).

``checks`` has the table of checks and calls them; each is a function that returns ``Line`` records.
Every library is imported inside a check, so a library that cannot be loaded fails only this check.
"""
