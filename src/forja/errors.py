"""Errors a person can act on: what happened, where, and what to do. Everything Forja raises on
purpose is one of these; the command line prints it and exits 1, without a traceback."""

from __future__ import annotations


class ForjaError(Exception):
    """A failure that the user can understand and mend.

    `what` is a sentence; `where` names the file, key or stage; `fix` says what to do next.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" {self.fix}" if self.fix else ""
        return f"{place}{self.what}{advice}"


class RecipeError(ForjaError):
    """The recipe, or an override of it, says something that cannot be done."""


class Interrupted(BaseException):
    """The process was asked to stop, by the signal `signum`; the same command resumes what is on disk."""

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(signum)
