"""The drawing kit: the few kinds of drawing the book knows, and what all of them share.

Nothing here knows a chapter; each chapter's module beside this folder puts the kit to use.
"""
