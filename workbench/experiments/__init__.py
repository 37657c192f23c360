"""Commands above single adaptations: experiments, search, reports, engines, service, doctor.

The command line calls ``reproduce.reproduce`` and ``bench.bench``. An experiment is a list of
parts (``parts``). Finished trainings are rows of a CSV file (``result_rows``). A page is Markdown
with a chart (``pages``). All trainings run through ``adaptation``. This package does not train
itself. ``service`` is a web server whose jobs run ``workbench adapt`` in other processes.
"""
