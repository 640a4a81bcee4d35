"""Strategies: plugin configs of every kind of field, and JSON that is nearly right for them."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional, Union

from hypothesis import strategies as st
from pydantic import BaseModel, Field, Json, SecretStr, create_model

from plugin_framework import PluginConfig

SAFE = 2**53 - 1
# Of values, which is not for type checkers.
UNION: Any = Union
LIST: Any = list
SET: Any = set
TUPLE: Any = tuple
DICT: Any = dict
ANNOTATED: Any = Annotated


@dataclass(frozen=True)
class Kind:
    """A type of a field, and JSON values that suit it or nearly do."""

    type_: Any
    values: st.SearchStrategy[Any]
    hashable: bool = True


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"
    NUMBER = "1"


class Level(enum.Enum):
    LOW = 1
    HIGH = 2.5


# The texts that lenient reading is about.
WORDS = st.sampled_from(
    [
        *("", "0", "1", "5", " 5 ", "5.0", "5.", ".5", "1_000", "_1", "1__0", "+5", "-5", "--5"),
        *("1e3", "abc", "ab", "inf", "nan", "-Infinity", "true", "TRUE", "yes", " yes", "on", "T"),
        *("n", "off", "2", "0x10", "٣", "5\u00a0", "\u00855", "\ufeff5", "1_.5", "in_f", "None"),
        *("null", "red", "blue", "cat", "a-1", "A1", "a\n", "ä", "😀", "\u2028", "0005", "-0"),
        *("[1]", '{"a": 1}', '"x"'),
    ]
)
NUMBERS = st.one_of(
    st.integers(-200, 200),
    st.sampled_from(
        [0, 1, 2, -1, 2.5, 0.5, 0.1, 0.3, -0.0, 1e-5, 1e-7, 1.5e300, 1e22, SAFE, -SAFE]
    ),
    st.floats(-100, 100, width=16),
    st.floats(allow_nan=False, allow_infinity=False),
).filter(lambda n: not float(n).is_integer() or abs(n) <= SAFE or abs(n) >= 1e21)
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    WORDS,
    st.text(max_size=5),
    st.sampled_from([[], {}, [1], [[1]], {"a": 1}, {"": None}, {"__proto__": 1}]),
)
DATES = st.one_of(
    st.dates().map(str),
    st.datetimes().map(str),
    st.datetimes(timezones=st.just(dt.UTC)).map(lambda d: d.isoformat()),
    st.times().map(str),
    st.sampled_from(
        [
            *("2024-02-29", "2023-02-29", "2024-1-1", "0000-01-01", "2024-01-01T00:00"),
            *("2024-01-01T00:00:00Z", "2024-01-01 00:00:00+02:00", "2024-01-01T00:00:01"),
            *("2024-01-01T", "20240101", "2024-01-01_10:30", "2024-01-01T10:30:15,1", "86400"),
            *("2024-01-01T10:30+0100", "2024-01-01T10:30+01", "2024-01-01T10:30+24:00", "86400.0"),
            *("2024-01-01T24:00", "2024-01-01T10:30:60", "10:30", "10:30:15.5", "24:00", "9:30"),
            *("10:30Z", "10:30 Z", "10:30+23:60", "10:30\u221201:00", "5.", ".5", "-.5", "+86400"),
        ]
    ),
    st.sampled_from([0, 86400, 86400.5, 1704067200, 1704067200000, 5e-8, 2e10, 1e15, -62135596800]),
    st.sampled_from([253402300799000, 253402300800000, 86399.999999, 86399.9999999, -1, 0.5]),
)
SPANS = st.one_of(
    st.timedeltas().map(str),
    st.from_regex(r"[+-]?P(\d{1,2}[YMWD]){0,2}(T(\d{1,2}([.,]\d)?[HMS]){0,2})?", fullmatch=True),
    st.sampled_from(
        ["10:30", "1:30", "10:60", "1 day", "1 days, 10:30", "1d 10:30", "1,5", "P", "PT"]
    ),
    st.sampled_from(["999999999 days", "1000000000 days", 1e9, 86399999999999, 8.64e13, "P1DT"]),
    NUMBERS,
)
IDS = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda u: u.hex),
    st.uuids().map(lambda u: u.urn),
    st.uuids().map(lambda u: f"{{{u}}}"),
    st.uuids().map(lambda u: str(u).upper()[:-1]),
)
PATTERNS = [
    *("^a", r"^\d+$", r"^\w+$", r"[\w\-]+", r"^[a-z]{1,3}$", r"\bab\b", r"(?i)^AB", r"^.$"),
    *(r"\Aa\z", r"(?P<n>b)", r"[^\s]", r"\S\s", r"\p{Lu}", r"\x{61}", r"[]a]", "a]", r"\@|a", "^$"),
    *(r"^[[:alpha:]]+$", r"[[:digit:]x-]", r"\pL", r"\.|\-"),
]


def _bounds(draw: st.DrawFn, *, whole: bool) -> dict[str, Any]:
    number = st.integers(-10, 10) if whole else st.sampled_from([-1.5, 0, 0.5, 2, 10])
    low, high = sorted([draw(number), draw(number)])
    chosen = {
        **draw(st.sampled_from([{}, {"ge": low}, {"gt": low}])),
        **draw(st.sampled_from([{}, {"le": high}, {"lt": high}])),
    }
    steps = [2, 3] if whole else [0.1, 0.5, 3]
    return {**chosen, **draw(st.sampled_from([{}, {"multiple_of": draw(st.sampled_from(steps))}]))}


def _lengths(draw: st.DrawFn) -> dict[str, Any]:
    low, high = sorted([draw(st.integers(0, 3)), draw(st.integers(0, 3))])
    return draw(st.sampled_from([{}, {"min_length": low}, {"min_length": low, "max_length": high}]))


@st.composite
def scalars(draw: st.DrawFn) -> Kind:
    plain = [
        Kind(bool, st.one_of(WORDS, NUMBERS, st.booleans())),
        Kind(Annotated[int, Field(**_bounds(draw, whole=True))], st.one_of(NUMBERS, WORDS)),
        Kind(Annotated[float, Field(**_bounds(draw, whole=False))], st.one_of(NUMBERS, WORDS)),
        Kind(
            Annotated[str, Field(**_lengths(draw))], st.one_of(WORDS, NUMBERS, st.text(max_size=4))
        ),
        Kind(
            Annotated[str, Field(pattern=draw(st.sampled_from(PATTERNS)))],
            st.one_of(WORDS, st.text(max_size=3)),
        ),
        Kind(Annotated[bytes, Field(**_lengths(draw))], st.one_of(WORDS, st.text(max_size=3))),
        Kind(SecretStr, WORDS),
        Kind(Literal["red", 1, 2], st.one_of(WORDS, NUMBERS, st.booleans())),
        Kind(Literal[True], JUNK),
        Kind(Literal["a"] | None, WORDS),
        Kind(Colour, st.one_of(WORDS, st.sampled_from(["red", "blue"]))),
        Kind(Level, st.one_of(st.sampled_from([1, 2.5, True, 2]), NUMBERS)),
        Kind(dt.date, DATES),
        Kind(dt.datetime, DATES),
        Kind(dt.time, DATES),
        Kind(dt.timedelta, SPANS),
        Kind(uuid.UUID, IDS),
        Kind(None, st.none()),
    ]
    return draw(st.sampled_from(plain))


@st.composite
def models(
    draw: st.DrawFn, inner: st.SearchStrategy[Kind], base: type[BaseModel] | None = None
) -> Kind:
    of: Any = base or draw(st.sampled_from([PluginConfig, BaseModel]))
    kinds = draw(
        st.dictionaries(st.sampled_from(["a", "b", "c_d", "e"]), inner, min_size=1, max_size=4)
    )
    required = {name: draw(st.booleans()) for name in kinds}
    made = create_model(
        "Made",
        __base__=of,
        **{n: (k.type_, ... if required[n] else None) for n, k in kinds.items()},  # type: ignore[call-overload]  # made of values
    )
    right = st.fixed_dictionaries(
        {n: k.values for n, k in kinds.items() if required[n]},
        optional={n: k.values for n, k in kinds.items() if not required[n]},
    )
    wrong = st.dictionaries(st.sampled_from([*kinds, "other", "__proto__"]), JUNK, max_size=3)
    return Kind(made, st.one_of(right, right, right, wrong), hashable=False)


class Cat(PluginConfig):
    kind: Literal["cat"]
    lives: int = 9


class Dog(PluginConfig):
    kind: Literal["dog", "wolf"] = "dog"
    name: str


class Tree(PluginConfig):
    label: int
    next: Optional[Tree] = None  # noqa: UP045 - a name that is not there yet
    branches: list[Tree] = Field([])


PETS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["cat", "dog", "wolf", "x", 1, None])},
    optional={"lives": JUNK, "name": st.one_of(WORDS, JUNK)},
)
TREES = st.recursive(
    st.fixed_dictionaries({"label": st.one_of(st.integers(0, 9), JUNK)}),
    lambda tree: st.fixed_dictionaries(
        {"label": st.integers(0, 9)},
        optional={"next": tree, "branches": st.lists(tree, max_size=2)},
    ),
    max_leaves=4,
)


@st.composite
def compounds(draw: st.DrawFn, inner: st.SearchStrategy[Kind]) -> Kind:
    one, other = draw(inner), draw(inner)
    mixed = st.one_of(one.values, other.values)
    items = st.lists(st.one_of(one.values, one.values, JUNK), max_size=4)
    lengths = _lengths(draw)
    union = UNION[one.type_, other.type_]
    choices = [
        Kind(ANNOTATED[LIST[one.type_], Field(**lengths)], items, hashable=False),
        Kind(UNION[one.type_, None], st.one_of(st.none(), one.values), one.hashable),
        Kind(union, mixed, one.hashable and other.hashable),
        Kind(TUPLE[one.type_, other.type_], st.lists(mixed, max_size=3), hashable=False),
        Kind(
            ANNOTATED[DICT[str, one.type_], Field(**lengths)],
            st.dictionaries(
                st.one_of(st.text(max_size=3), st.just("__proto__")), one.values, max_size=4
            ),
            hashable=False,
        ),
        Kind(
            DICT[Colour, one.type_], st.dictionaries(WORDS, one.values, max_size=2), hashable=False
        ),
        Kind(
            Annotated[Cat | Dog, Field(discriminator="kind")], st.one_of(PETS, JUNK), hashable=False
        ),
        Kind(Cat | Dog | None, PETS, hashable=False),
        Kind(Tree, TREES, hashable=False),
        Kind(Any, JUNK, hashable=False),
        Kind(dict, JUNK, hashable=False),
        Kind(Json[list[int]], st.sampled_from(["[1]", "[", '["a"]', "1", 1, ""]), hashable=False),
    ]
    if one.hashable:
        choices.append(Kind(ANNOTATED[SET[one.type_], Field(**lengths)], items, hashable=False))
    return draw(st.sampled_from(choices))


KINDS = st.recursive(scalars(), lambda inner: compounds(inner) | models(inner), max_leaves=4)


@st.composite
def cases(draw: st.DrawFn) -> tuple[type[BaseModel], list[Any]]:
    """A config model, and JSON values that might be its config."""
    kind = draw(models(KINDS, PluginConfig))
    near = st.one_of(kind.values, kind.values, kind.values, JUNK)
    return kind.type_, draw(st.lists(near, min_size=10, max_size=10))
