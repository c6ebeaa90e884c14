"""Say what images show, from a checkpoint alone.

python scripts/predict.py checkpoints/NAME/best.ckpt IMAGE_OR_FOLDER ... --output out.csv
"""

from project.run.errors import main

if __name__ == "__main__":
    main("project.run.predict")
