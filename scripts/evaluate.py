"""Measure a checkpoint again, from the file alone.

python scripts/evaluate.py checkpoints/NAME/best.ckpt
"""

from project.run.errors import main

if __name__ == "__main__":
    main("project.run.evaluate")
