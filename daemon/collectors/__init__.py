"""One collector per subsystem, each showing its part of a reading."""
