"""Vectors as bytes and arrays: pure, no storage. Any index that keeps the rows can use it.

codes.py says how a vector lies in bytes, scan.py what a reader holds and how it is searched, copy.py how that is kept
in a file so that it need not be read row by row. docs/index-format.md has the layout.
"""
