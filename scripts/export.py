"""Write a checkpoint as a file that other programs can run, and compare the two.

python scripts/export.py checkpoints/NAME/best.ckpt --format onnx
"""

from project.run.errors import main

if __name__ == "__main__":
    main("project.run.export")
