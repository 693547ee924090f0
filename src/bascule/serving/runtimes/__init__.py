"""Runtimes of single formats, one module each. They are found by name through `serving.runtime`."""
