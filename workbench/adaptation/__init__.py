"""The main job: settings -> task -> plan of steps -> analysis -> trainings -> verdict.

``pipeline`` executes an adaptation, ``dry_run`` prints its steps, and ``single_steps`` executes one
of them in another process. They use these rooms, each of which uses only those before it:

``tasks`` looks up, checks and loads what the settings name.
``options`` reads and writes options as files; ``plans`` has the plans and keys of trainings;
``stages`` has the runs of stages after a training.
``analysis`` measures a target and makes the recipe.
``trainings`` has the trainings: source, gates, protocols, teachers and repair.
``steps`` lists the steps, and what is recorded of them; ``results`` has the latencies, the verdict,
the report and the files at the end.
"""
