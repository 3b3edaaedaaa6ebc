"""How alike two traces are, and profiles of real ones that a generator can be calibrated with."""
