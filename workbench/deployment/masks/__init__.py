"""Stages that keep a few weights of a trained network and set all others to 0.

``sparse`` removes the smallest weights step by step, ``lottery`` trains the rest again from the
start, and ``supermask`` learns which weights of the start to keep. ``magnitude_masks`` has the
masks, and ``sparse_files`` writes the packed file that stores only the weights that are left.
"""
