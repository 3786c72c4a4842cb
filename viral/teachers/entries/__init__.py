"""Entries of the registry, in groups. They import nothing heavy."""
