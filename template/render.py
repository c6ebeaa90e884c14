"""From the template's files and a user's answers to the files of the user's project: the same always gives the same."""

from template.answers import Answers, choices
from template.parts import Tree, read_catalogue
from template.prune import prune
from template.rename import renamed, renamed_path


def render(tree: Tree, answers: Answers) -> Tree:
    """Return the files of a project.

    Raises:
        UsageError: an answer names what there is not.
    """
    files = {}
    for path, data in prune(tree, *choices(read_catalogue(tree), answers)).items():
        try:
            text = data.decode()
        except UnicodeDecodeError:  # a picture or a checkpoint
            files[path] = data
        else:
            files[renamed_path(path, answers.package)] = renamed(path, text, answers.package).encode()
    return dict(sorted(files.items()))
