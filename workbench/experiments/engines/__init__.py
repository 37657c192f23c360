"""Trainings in several processes, on this machine or on others.

A ``Cell`` is one training, analysis or trial as plain data (``cells``). An engine runs each cell
as ``workbench cell -`` in a process of its own (``cell_processes``); ``engine_table`` lists the
engines.
``adaptations`` runs all cells of adaptations in waves and then lets ``adaptation`` find them. This
package does not train: ``cell_kinds``, above it, is what the processes execute.
"""
