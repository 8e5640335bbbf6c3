"""Boucle closes the MLOps loop."""

__version__ = "0.1.0"
