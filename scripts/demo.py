"""A page in the browser to try a checkpoint on: draw a digit, or drop in an image.

python scripts/demo.py checkpoints/NAME/best.ckpt
"""

from project.run.errors import main

if __name__ == "__main__":
    main("project.run.demo")
