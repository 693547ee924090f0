"""Which version of the protocol is spoken."""

VERSION = "3.17.2"  # what the newest client that was tried speaks
