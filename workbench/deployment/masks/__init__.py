"""Stages that keep a few weights of a trained network and set all others to 0.

``sparse`` removes the smallest weights step by step, ``lottery`` trains the rest again from their
initial values, and ``supermask`` learns which initial weights to keep. ``magnitude_masks`` has the
masks, and ``sparse_files`` writes the packed file that stores only the weights that are left.
"""
