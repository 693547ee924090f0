"""The native API: one module a noun, each with a table of its routes; `table.API` is all of them."""
