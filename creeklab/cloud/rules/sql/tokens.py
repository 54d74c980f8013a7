"""The tokens of a statement, and the error that points to one of them."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Kind = Literal["word", "variable", "number", "string", "symbol", "end"]

MAX_VARIABLE_NAME = 64

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
    | (?P<word>[^\W\d]\w*)
    | (?P<variable>@[A-Za-z]\w*)
    | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<string>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<symbol><>|<=|>=|!=|[=<>+\-*/%()\[\]{},.:])
    """,
    re.VERBOSE,
)

_HINTS = (
    ("--", "AWS IoT SQL has no comments. Remove the text after '--'."),
    ("/*", "AWS IoT SQL has no comments. Remove the text between '/*' and '*/'."),
    ("==", "Compare with a single '='."),
    ("&&", "Write AND."),
    ("||", "Write OR, or '+' to join strings."),
    ("!", "Write NOT, or '<>' for 'not equal'."),
    (";", "A statement has no ';' at its end. Remove it."),
    ("'", "The string that starts here has no closing quote."),
    ('"', "The string that starts here has no closing quote."),
    ("#", "FROM needs a topic filter in single quotes, such as 'creek/#'."),
    ("`", "Write strings in single quotes, and names without quotes."),
    *((quote, "Use straight quotes: ' or \".") for quote in "\u2018\u2019\u201c\u201d"),
    ("$", "Substitution templates such as ${topic()} belong into actions, not into the SQL."),
    ("@", "A variable is @ and a letter, then letters, digits and underscores."),
)


class SqlError(ValueError):
    """A statement that cannot be parsed.

    Attributes
    ----------
    problem
        What is wrong and what to do, without the place.
    line, column
        Where it is wrong, counted from 1.
    """

    def __init__(self, problem: str, text: str, offset: int) -> None:
        self.problem = problem
        self.line = text.count("\n", 0, offset) + 1
        self.column = offset - text.rfind("\n", 0, offset)
        super().__init__(f"Line {self.line}, column {self.column}: {problem}")


class Token(NamedTuple):
    """A token, and where it is in the text."""

    kind: Kind
    text: str
    start: int
    end: int

    def is_word(self, word: str) -> bool:
        """Return whether this is a keyword, in upper or lower case."""
        return self.kind == "word" and self.text.upper() == word

    def is_symbol(self, symbol: str) -> bool:
        """Return whether this is an operator or a bracket."""
        return self.kind == "symbol" and self.text == symbol

    @property
    def string(self) -> str:
        """The content of a string, in which a doubled quote stands for one."""
        quote = self.text[0]
        return self.text[1:-1].replace(quote * 2, quote)

    def __str__(self) -> str:
        return "the end of the statement" if self.kind == "end" else f"'{self.text}'"


def tokenize(text: str, start: int = 0, *, in_braces: bool = False) -> list[Token]:
    """Return the tokens of a text from `start` on; the last one is of the kind ``end``.

    Parameters
    ----------
    in_braces
        Whether to stop after the brace that closes one before `start`.

    Raises
    ------
    SqlError
        If the text contains a character that no token begins with.
    """
    tokens: list[Token] = []
    position, depth = start, int(in_braces)
    while position < len(text) and not (in_braces and depth == 0):
        _refuse_mistakes(text, position)
        match = _TOKEN.match(text, position)
        if match is None:
            hint = next((hint for mark, hint in _HINTS if text.startswith(mark, position)), "")
            problem = f"'{text[position]}' is not valid here. {hint}".rstrip()
            raise SqlError(problem, text, position)
        position = match.end()
        kind: Kind | Literal["space"] = match.lastgroup  # type: ignore[assignment]
        if kind == "variable" and len(match[0]) > MAX_VARIABLE_NAME:
            problem = f"The name of a variable has at most {MAX_VARIABLE_NAME} characters."
            raise SqlError(problem, text, match.start())
        if kind != "space":
            tokens.append(Token(kind, match[0], match.start(), position))
            depth += {"{": 1, "}": -1}.get(match[0], 0)
    return [*tokens, Token("end", "", position, position)]


def _refuse_mistakes(text: str, position: int) -> None:
    """Refuse what consists of valid tokens, but is meant otherwise."""
    for mark, hint in _HINTS[:3]:
        if text.startswith(mark, position):
            raise SqlError(f"'{mark}' is not valid here. {hint}", text, position)
