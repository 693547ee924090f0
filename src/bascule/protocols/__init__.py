"""The languages of other tools, one folder each: they parse, call a room below, and answer.

A protocol holds no logic of its own. The server assembles them into one application; nothing else may call them.
"""
