"""Correct the layers that read removed filters, without training."""
