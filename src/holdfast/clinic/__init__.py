"""The clinic: looks at indexes of other tools (and at ours), says what is wrong, and cures it without losing anything.

It looks with readers of its own and changes nothing unless told to. A side room: it uses what is below it, and nothing
but the interfaces knows it.
"""
