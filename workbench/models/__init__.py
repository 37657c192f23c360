"""Networks and their weight files, and the processor that they run on.

``networks.build_network`` builds one by its name, ``weight_files`` reads and writes weights without
executing anything, ``processor`` resolves device and precision. Nothing here knows recipes,
domains or trainings.
"""
