"""Alignment objectives, one file each, looked up by name."""
