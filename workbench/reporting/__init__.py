"""What a person reads: tables, charts, sentences, comparisons, and results as JSON.

``results`` holds the plain data that is reported, ``statistics`` its intervals. Everything here
reads; nothing here trains, and only ``run_comparison`` reads a store.
"""
