"""How fast a run is, side by side with the loops that a person would write instead: what scripts/benchmark.py does."""
