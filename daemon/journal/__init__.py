"""The journal: every batch that was admitted, as it came, in the order it was applied.

``layout`` is what stands in a file, ``reader`` reads it back and judges damage,
``writer`` appends, ``export`` makes a trace of it. The format is described in
docs/RELIABILITY.md.
"""
