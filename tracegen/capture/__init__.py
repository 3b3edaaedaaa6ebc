"""Traces of the machine that we are on: ``pfmemd capture``.

``events`` is what is asked for, ``instance`` a private instance of tracefs and what it was
before, ``live_text`` what the kernel prints there, ``machine_files`` copies of /proc and /sys,
``samples`` the machine's own free
pages, ``by_hand`` the same as a script for the shell, ``cli`` the command.
"""
