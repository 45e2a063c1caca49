"""Checkers for the exercises, one module a chapter: they say what is wrong, never what is right."""
