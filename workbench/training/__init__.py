"""The training loop and what surrounds it: plans, checkpoints, protocols, distillation, progress.

``loop.fit`` trains one network, ``stacked_seeds.fit_together`` several seeds at the same time,
``evaluation.evaluate`` counts correct test images. ``protocols`` and ``settings`` are plain data.
Nothing here knows stores, domains or recipes.
"""
