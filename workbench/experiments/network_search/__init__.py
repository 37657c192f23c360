"""Search for the cheapest network that is accurate enough (``workbench shrink``).

``successive_halving`` chooses, ``trials`` trains and records, ``search`` does both in turns until
the time is over, ``search_report`` writes what was found.
"""
