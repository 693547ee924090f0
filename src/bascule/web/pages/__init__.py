"""The pages: one module a section, each with a table of its routes."""
