"""The steps in the box, one module each: plain functions over a `Context` that a debugger can call."""
