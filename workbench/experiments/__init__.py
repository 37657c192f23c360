"""Experiments with one page each: the paper's figures and tables, and comparisons of methods.

The command line calls ``reproduce.reproduce`` and ``bench.bench``. An experiment is a list of
parts (``parts``). Finished trainings are rows of a CSV file (``result_rows``). A page is Markdown
with a chart (``pages``). All trainings run through ``adaptation``. This package does not train
itself and does not depend on ``deployment``.
"""
