"""A trained network as a file that runs elsewhere.

``export.export`` writes the file and compares it with its network, ``predict.predict`` classifies
image files, ``run_weights.find_weights`` turns what a user names (a run, an adaptation, a file)
into a weight file. Nothing here trains, and nothing here knows ``experiments``.
"""
