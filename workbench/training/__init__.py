"""The training loop and what surrounds it: plans, checkpoints, protocols, distillation, progress.

``loop.fit`` trains one network, ``stacked_seeds.fit_together`` several seeds at the same time,
``evaluation.evaluate`` counts correct test images. ``protocols`` and ``settings`` are plain data.
The package does not use stores, domains or recipes.
"""
