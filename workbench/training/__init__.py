"""The training loop and what surrounds it: plans, checkpoints, protocols, distillation, progress.

``loop.fit`` trains a network, ``evaluation.evaluate`` counts correct test images. ``protocols`` and
``settings`` are plain data.
The package does not use stores, domains or recipes.
"""
