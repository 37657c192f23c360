"""The report: plain data become one HTML file that opens offline.

``page`` describes a page as frozen data (sections of tables, charts, pictures and matrices) and
``html`` renders it. ``charts`` makes Vega-Lite charts of plain rows. The modules that end in
``_sections`` make the sections of a report from results, recipes and predictions. Nothing here
reads a store: ``adaptation.results.run_report`` and ``experiments.reports`` collect the data.
"""
