"""Full text over packed postings: pure arrays, no storage. Any index that keeps the blobs can use it.

pack.py says how bytes lie, corpus.py what a reader holds, score.py what a question costs. docs/index-format.md has the
layout with its reasons; docs/decisions/0002 what it was measured against.
"""
