"""``pfmemd top``: a running daemon in the terminal, in the manner of slabtop and htop."""
