"""Rule traces: a few operations that show one rule of the patch, with what must come of them.

``parser`` reads the text, ``trace`` says what it holds, ``driver`` leads a machine through
it, ``look`` reads the machine's state, ``runner`` holds both against each other, ``recording``
holds the text against what the kernel's own code answered, ``report`` and ``cli`` are
``pfmemd rule``. The format is described in docs/RULES.md.
"""
