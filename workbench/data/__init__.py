"""Data sets as arrays, their splits, and augmentation."""
