class UserError(Exception):
    """A mistake that the user can put right: wrong key, wrong code, missing file.

    Every line says what was given, what is allowed and what to do. All mistakes that are known at the time are raised
    together, so that the user does not meet them one by one.

    Args:
        *problems: one line per mistake, at least one.

    Example:
        >>> error = UserError("pair 'en_sw': write en-sw.", "task 'xnlli': did you mean xnli?")
        >>> error.problems
        ("pair 'en_sw': write en-sw.", "task 'xnlli': did you mean xnli?")
    """

    problems: tuple[str, ...]

    def __init__(self, *problems: str) -> None:
        if not problems:
            raise ValueError("UserError needs at least one line")
        # Exception keeps exactly these arguments, so that an error survives pickling between processes.
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)
