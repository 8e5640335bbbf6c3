"""Five steps that do nothing."""


def one() -> int:
    return 0


def two(one: int) -> int:
    return one


def three(two: int) -> int:
    return two


def four(three: int) -> int:
    return three


def five(four: int) -> int:
    return four
