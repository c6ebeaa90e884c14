"""Look through a folder of images before training on it: what it holds, and what is wrong with it.

python scripts/check_data.py PATH
"""

from project.run.errors import main

if __name__ == "__main__":
    main("project.run.check_data")
