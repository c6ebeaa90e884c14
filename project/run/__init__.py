"""What surrounds a fit: command line, run folder, checkpoints, tracking, summary."""
