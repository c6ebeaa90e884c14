"""Train, test and record a model; with no flag, a small CNN on MNIST.

python scripts/train.py
python scripts/train.py --help
"""

from project.run.errors import main

if __name__ == "__main__":
    main("project.run.train")
