"""The one exception a user's mistake raises; the command line prints its message without a traceback."""


class CourseError(ValueError):
    """Something the user can put right: the message names the file or parameter, what was expected and what to do."""
