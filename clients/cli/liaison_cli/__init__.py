"""Liaison on the command line: `liaison ...`, one module per group of commands."""
