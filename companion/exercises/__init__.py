"""Checkers for the exercises, one module a chapter: they say what is wrong, never what is right.

Each takes an attempt, None where there is none yet, and prints what it says of it.
"""
