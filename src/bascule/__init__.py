"""Bascule: git for the whole ML system."""

__version__ = "0.1.0"
