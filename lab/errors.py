"""What goes wrong in the lab itself, as opposed to in the product under test."""


class LabError(Exception):
    """The lab could not be set up or a server in it misbehaved."""


class MissingProgramError(LabError):
    """A program the lab starts is not installed; `lab.debian` names its package."""

    def __init__(self, program: str) -> None:
        super().__init__(f"{program} is not installed; run: python -m lab.debian")
        self.program = program
