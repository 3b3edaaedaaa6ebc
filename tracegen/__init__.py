"""Everything that makes, reads, converts or sends a trace."""
