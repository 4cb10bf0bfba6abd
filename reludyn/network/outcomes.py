"""The words of files for what happens to a replica, each with the sentence that a person reads."""

from __future__ import annotations

from enum import Enum


class Word(str, Enum):
    """Word that files hold, equal to its text, with the `sentence` that users read."""

    sentence: str

    def __new__(cls, text: str, sentence: str = "") -> Word:
        """Make a word of its text and its sentence."""
        word = str.__new__(cls, text)
        word._value_, word.sentence = text, sentence
        return word

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment]


class Event(Word):
    """Event of training; files hold the first iteration at which it has happened."""

    ALIGNED = "T_align", "alignment ended"
    GROWN = "T_growth", "growth ended"
    CONVERGED = "T_converged", "converged"


class Outcome(Word):
    """Outcome of a replica: where descent arrived."""

    GLOBAL_MINIMUM = "global_minimum", "the loss is zero, or will be"
    NON_STRICT_SADDLE = "non_strict_saddle", "stuck at a saddle of Theorem 1"
    DIVERGED = "diverged", "the loss grew beyond all bounds"
    UNCONVERGED = "unconverged", "nothing of the others yet"


class Reason(Word):
    """Why training ended."""

    CONVERGED = "converged", "the loss is below trainer.tolerance"
    STATIONARY = "stationary", "the gradient is below trainer.gradient_tolerance"
    DIVERGED = "diverged", "the loss grew beyond all bounds"
    MAX_STEPS = "max_steps", "trainer.steps is reached"
    MAX_SECONDS = "max_seconds", "trainer.max_seconds is over"
    STUCK = "stuck", "the update rule could go no further"
    INTERRUPTED = "interrupted", "a signal asked for it"
