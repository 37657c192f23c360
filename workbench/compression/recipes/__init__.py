"""Recipes as data: what each layer keeps, the options behind it, and recipe files."""
