"""The main job: settings -> task -> plan of steps -> analysis -> trainings -> verdict.

``pipeline.adapt`` and ``pipeline.analyze`` run it, ``dry_run.preview`` shows the same plan without
executing it, and ``source_training.train`` trains a source network by itself. Values pass in one
direction: ``settings`` (the user's options), ``task`` (names looked up, defaults filled in),
``loaded_task`` (a task with its images), ``training_jobs`` (one training with its key), and then
``store.recorder``. No module here depends on the command line or on a tracking server.
"""
