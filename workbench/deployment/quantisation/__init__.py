"""Quantisation of trained networks: one file for each stage, one for each algorithm.

Stages are ``int8``, ``int8_qat``, ``mixed_bits`` and ``clustered_weights``; each has one function
that writes a file. ``grids``, ``knapsack`` and ``huffman`` are pure functions of numbers and
arrays. ``fake_quantisation`` and ``qdq_export`` serve ``int8_qat``, ``packed_tensors`` and
``packed_weights`` the two stages that only save bytes.
"""
