"""Say whether two checkpoints are equal to the last bit.

python scripts/compare.py checkpoints/full/last.ckpt checkpoints/cut/last.ckpt
"""

from project.run.errors import main

if __name__ == "__main__":
    main("project.run.compare")
