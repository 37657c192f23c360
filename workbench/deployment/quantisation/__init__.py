"""Quantisation of trained networks: one file for each stage, one for each algorithm.

Stages are ``int8``, ``int8_qat``, ``mixed_bits``, ``clustered_weights``, ``kernel_clustered`` and
``binary_training``; each has one function that writes a file. ``grids``, ``knapsack``, ``huffman``
and ``kernel_clusters`` are pure functions of numbers and arrays. ``fake_quantisation`` and
``qdq_export`` serve ``int8_qat``, ``packed_tensors`` and ``packed_weights`` the stages that only
save bytes.
"""
