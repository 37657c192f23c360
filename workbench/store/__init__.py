"""The memory: runs in MLflow, their keys, unfinished work on disk, and resuming.

``recorder.Recorder`` finds a recorded result, or computes, stores and logs it. ``mlflow_store`` is
the only module that imports mlflow. ``unfinished_work`` keeps what survives a kill. The store
records trainings that it is handed as ``recorder.Job``; it does not know what they are for.
"""
