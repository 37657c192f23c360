"""Target domains: strict YAML files, read into frozen records.

``search.find_domain`` finds a domain by its name, ``domain.load_domain`` reads one file and
reports all its mistakes together, ``new_files`` writes one, ``strict_yaml`` reads any flat YAML
file without creating objects. The package does not load images, torch or MLflow.
"""
