"""Files that run elsewhere: export, stages after training, runtimes and prediction.

``export.write_file`` writes the file of a trained network and compares it with its network.
``stages.apply_stage`` makes int8 and packed files (``quantisation``). ``predict.predict``
classifies image files. ``run_weights.find_weights`` finds the weight file of a run, an adaptation
or a path. This package does not know settings, tasks and protocols of ``adaptation``, which
applies its stages.
"""
