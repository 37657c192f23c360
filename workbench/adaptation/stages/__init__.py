"""Stages after a training: their start, their work and their runs."""
