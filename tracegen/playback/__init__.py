"""Recorded traces played as new life: parts of them, some of their events, at any pace.

``event_filter`` is the language of ``--filter``, ``section`` the part of a trace that
``--slice`` names, ``selection`` what of a trace is played, ``player`` plays it, ``cli`` is
``pfmemd replay``.
"""
