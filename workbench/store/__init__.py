"""Runs in MLflow, their keys, unfinished work on disk, and resuming.

``recorder.Recorder`` finds a recorded result, or computes, stores and logs it. Only its
``mlflow_*`` modules import mlflow. ``unfinished_work`` keeps the files that survive a kill. The
store records trainings described by ``recorder.Job``; it does not depend on their purpose.
"""
