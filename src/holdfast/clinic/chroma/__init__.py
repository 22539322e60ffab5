"""The Chroma half of the clinic: looks at a Chroma or MemPalace directory, sets aside, puts back, saves the texts.

Reads the database and the graph files with readers of its own; needs neither chromadb nor hnswlib, and runs no code of
the files. Only `quarantine` and `restore` change the directory, by renames alone, and `refill`, after a copy of the
database.
"""

from holdfast.clinic.chroma.aside import listed, quarantine, restore
from holdfast.clinic.chroma.examining import examine
from holdfast.clinic.chroma.place import find
from holdfast.clinic.chroma.refilling import refill
from holdfast.clinic.chroma.rescuing import rescue

__all__ = ["examine", "find", "listed", "quarantine", "refill", "rescue", "restore"]
