"""Faults injected into the real program, and what is left of its work afterwards.

    python -m tests.faults --quick     each kind a few times: minutes
    python -m tests.faults             the whole table, 100 kills among it

`cases` holds one function a kind of fault; each returns how often the fault was tried and how often it was survived.
"""
