"""Networks and their weight files, and the processor that they run on.

``networks.build_network`` builds a network by its name, ``weight_files`` reads and writes weights
without executing code, ``processor`` resolves device and precision. This package does not depend
on recipes, domains or trainings.
"""
