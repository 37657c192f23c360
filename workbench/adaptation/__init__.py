"""The main job: settings -> task -> plan of steps -> analysis -> trainings -> verdict.

``pipeline.adapt`` and ``pipeline.analyze`` run it, ``dry_run.preview`` shows the same plan without
executing it, ``source_training.train`` trains a source network by itself. Values go down only:
``settings`` (what the user asks for), ``task`` (names looked up, defaults filled in),
``loaded_task`` (with its images), ``training_jobs`` (one training with its key), and from there
to ``store.recorder``. Nothing here knows the command line or a tracking server.
"""
