"""From a text to clauses and orders: MLflow's search language, held to what a `Language` allows.

    filter  = [ clause { AND clause } ]
    clause  = key comparator value | key IS [NOT] NULL | key [NOT] IN ( text { , text } [,] )
    key     = [ family . ] name          the name in backticks or quotes if it has other signs than letters, digits, _ .
    order   = key [ ASC | DESC ]

There is no OR and there are no brackets around clauses, so a filter has no depth.
"""

import re
from collections.abc import Sequence
from math import isinf
from typing import Final, get_args

from boucle.kernel.errors import InvalidInput
from boucle.kernel.search.records import (
    LISTS,
    Clause,
    Comparator,
    FamilyName,
    Filter,
    Key,
    Language,
    Order,
    Subject,
    Value,
)
from boucle.kernel.search.scanner import Scanner, cut

MOST_CLAUSES: Final = 100
MOST_LISTED: Final = 10_000
MOST_ORDERS: Final = 12
"""Each nests what a later page asks for twice, and SQLite's parser takes some 30 levels."""
_FAMILIES: Final[dict[str, FamilyName]] = {
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "param"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("dataset", "datasets"), "dataset"),
}
_SHOWN_AS: Final[dict[FamilyName, str]] = {
    "attribute": "attributes",
    "metric": "metrics",
    "param": "params",
    "tag": "tags",
    "dataset": "datasets",
}
_INTEGER: Final = re.compile(r"-?\d+", re.ASCII)
_LARGEST_INTEGER: Final = 2**63 - 1


def parse_filter(text: str | None, language: Language) -> Filter:
    """The clauses of a filter; none if it is empty. InvalidInput says where it is wrong and what is allowed there."""
    scanner = Scanner(text or "", f"filter of {language.noun}")
    if scanner.is_done():
        return ()
    clauses = [_clause(scanner, language)]
    while not scanner.is_done():
        if not scanner.take_word("AND"):
            scanner.fail(scanner.next(), "AND between two clauses, or the end")
        clauses.append(_clause(scanner, language))
        if len(clauses) > MOST_CLAUSES:
            raise InvalidInput(
                f"filter of {language.noun} has more than {MOST_CLAUSES} clauses; allowed are at most {MOST_CLAUSES}"
            )
    return tuple(clauses)


def parse_orders(texts: Sequence[str], language: Language) -> tuple[Order, ...]:
    """The keys to order by; InvalidInput if there are too many, one is wrong or given twice."""
    check_order_count(len(texts), language)
    orders = tuple(_order(text, language) for text in texts)
    check_distinct(orders, language)
    return orders


def check_order_count(count: int, language: Language) -> None:
    """InvalidInput for more keys to order by than a search takes."""
    if count > MOST_ORDERS:
        raise InvalidInput(f"order_by of {language.noun} has {count:,} keys; allowed are at most {MOST_ORDERS}")


def check_distinct(orders: Sequence[Order], language: Language) -> None:
    """InvalidInput if one key is given twice."""
    seen = set[Key]()
    for order in orders:
        if order.key in seen:
            raise InvalidInput(f"order_by of {language.noun} names {_shown(order.key)!r} twice; allowed is once")
        seen.add(order.key)


def parse_key(text: str, language: Language) -> Key:
    """One key to order by, as in `metrics.acc`."""
    scanner = Scanner(text, f"order_by of {language.noun}")
    key = _order_key(scanner, language)
    if not scanner.is_done():
        scanner.fail(scanner.next(), "the end")
    return key


def _order(text: str, language: Language) -> Order:
    scanner = Scanner(text, f"order_by of {language.noun}")
    key = _order_key(scanner, language)
    descending = scanner.take_word("DESC")
    if not descending:
        scanner.take_word("ASC")
    if not scanner.is_done():
        scanner.fail(scanner.next(), "ASC, DESC or the end")
    return Order(key, descending)


def _order_key(scanner: Scanner, language: Language) -> Key:
    start = scanner.at
    key, subject = _key(scanner, language)
    if not subject.ordered:
        families = [_SHOWN_AS[family] for family, other in language.families.items() if other.ordered]
        names = [name for name, other in language.attributes.items() if other.ordered]
        scanner.fail(
            f"{_shown(key)!r}, by which nothing is ordered", _either(names + [f"{f}.NAME" for f in families]), at=start
        )
    return key


def _clause(scanner: Scanner, language: Language) -> Clause:
    start = scanner.at
    key, subject = _key(scanner, language)
    if not subject.comparators:
        names = [name for name, other in language.attributes.items() if other.comparators]
        scanner.fail(f"{_shown(key)!r}, which is not filtered on", _either(names), at=start)
    comparator = _comparator(scanner, key, subject)
    value: Value = None
    if comparator in LISTS:
        value = _list(scanner)
    elif not comparator.startswith("IS"):
        value = _value(scanner, key, subject, language)
    return Clause(key, comparator, value)


def _key(scanner: Scanner, language: Language) -> tuple[Key, Subject]:
    start = scanner.at
    parts = scanner.name()
    scanner.skip()
    family = _FAMILIES.get(parts[0]) if len(parts) == 2 else "attribute"
    name = parts[-1]
    known = ["attributes", *(_SHOWN_AS[other] for other in language.families)]
    if family is None or (family != "attribute" and family not in language.families):
        scanner.fail(f"{parts[0]!r} before the dot", _either(known), at=start)
    if family != "attribute":
        if family == "dataset" and name not in language.dataset_keys:
            scanner.fail(f"{name!r} of a dataset", _either(language.dataset_keys), at=start)
        return Key(family, name), language.families[family]
    name = language.synonyms.get(name, name)
    subject = language.attributes.get(name)
    if subject is None:
        families = [f"{_SHOWN_AS[other]}.NAME" for other in language.families]
        scanner.fail(f"{parts[-1]!r}", _either([*language.attributes, *families]), at=start)
    return Key("attribute", name), subject


def _comparator(scanner: Scanner, key: Key, subject: Subject) -> Comparator:
    start, shown = scanner.at, scanner.next()
    found = scanner.symbols()
    for known in get_args(Comparator) if found is None else ():
        if known[0].isalpha() and scanner.take_word(*known.split()):
            found = known
            break
    if found not in subject.comparators:
        scanner.fail(
            shown if found is None else repr(found), f"for {_shown(key)} {_either(subject.comparators)}", at=start
        )
    return found


def _value(scanner: Scanner, key: Key, subject: Subject, language: Language) -> Value:
    start, shown = scanner.at, scanner.next()
    if subject.kind == "string":
        text = scanner.string()
        if text is None and language.bare_numbers:
            text = scanner.number()
        if text is None:
            scanner.fail(shown, f"for {_shown(key)} a text in quotes, as in 'adam'", at=start)
        return text
    number = scanner.number()
    if number is None and subject.kind == "integer":
        number = scanner.string()
    is_whole = number is not None and _INTEGER.fullmatch(number) is not None
    if number is None or (subject.kind == "integer" and not is_whole):
        what = "a whole number, as in 12" if subject.kind == "integer" else "a number, as in 0.5"
        scanner.fail(shown, f"for {_shown(key)} {what}, without quotes", at=start)
    found = _integer(number) if is_whole else float(number)
    if isinf(found) and subject.kind == "number":
        scanner.fail(shown, f"for {_shown(key)} a number up to 1.7e308", at=start)
    return found


def _integer(text: str) -> int | float:
    # Numbers that no 64-bit column holds still compare with what it holds.
    if len(text) <= 20 and abs(int(text)) <= _LARGEST_INTEGER:
        return int(text)
    return float(text)


def _list(scanner: Scanner) -> tuple[str, ...]:
    if not scanner.take("("):
        scanner.fail(scanner.next(), "a list of texts, as in ('a', 'b')")
    texts: list[str] = []
    while not (texts and scanner.take(")")):
        text = scanner.string()
        if text is None:
            scanner.fail(scanner.next(), "a text in quotes, as in ('a', 'b')")
        texts.append(text)
        if len(texts) > MOST_LISTED:
            raise InvalidInput(
                f"{scanner.title} has a list of more than {MOST_LISTED:,} texts; allowed are at most {MOST_LISTED:,}"
            )
        if not scanner.take(",") and not scanner.text.startswith(")", scanner.at):
            scanner.fail(scanner.next(), "',' or ')' in a list")
    return tuple(texts)


def _shown(key: Key) -> str:
    return cut(key.name if key.family == "attribute" else f"{_SHOWN_AS[key.family]}.{key.name}")


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
