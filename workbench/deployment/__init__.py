"""Export of a trained network to a file that runs elsewhere, and predictions.

``export.export`` writes the file and compares it with its network. ``predict.predict`` classifies
image files. ``run_weights.find_weights`` finds the weight file of a run, an adaptation or a path.
This package does not train and does not depend on ``experiments``.
"""
