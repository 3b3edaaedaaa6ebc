"""Conformance vectors: what the kernel's own C code answered, held against the model.

``vector_file`` reads the files, ``runner`` drives a machine through one,
``report`` says what differed and shows the state around it, ``cli`` is
``pfmemd conformance``.
"""
