"""The history of a vault: who changed which note when, and what it held. Knows bytes and paths, not notes or indexes.

It is the one thing in our directories that is not derived. Losing it loses history only, never a note.
"""
