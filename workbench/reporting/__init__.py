"""Reports for people: tables, charts, sentences, comparisons, and results as JSON.

``results`` holds the plain data that is reported, ``statistics`` computes its intervals. This
package does not train, and only ``run_comparison`` reads a store.
"""
