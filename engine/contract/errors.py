"""The error that is a user's to mend."""


class UserError(ValueError):
    """An option, a value or a file of the user's makes no sense: its message says which, and what was expected.

    A program shows it as one line. Any other error in a project's own code is a bug, and shows its traceback.
    """
