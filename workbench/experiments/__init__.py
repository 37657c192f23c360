"""Grids of adaptations with a page each: the paper's figures and tables, method comparisons.

``reproduce.reproduce`` and ``bench.bench`` are what the command line calls. An experiment is a
list of parts (``parts``); finished trainings are rows of a CSV file (``result_rows``); a page is
Markdown with a chart (``pages``). Everything is trained through ``adaptation``; nothing here
trains, and nothing here knows ``deployment``.
"""
