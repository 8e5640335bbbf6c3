"""The rows behind the golden profiles."""

import polars as pl


def many_values() -> pl.DataFrame:
    """Numbers and texts with too many values to count each, and gaps."""
    places = range(5000)
    return pl.DataFrame(
        {
            "x": [place * 7919 % 5003 / 7 - 99 for place in places],
            "gaps": [None if place % 9 == 0 else place % 70 / 3 for place in places],
            "text": [f"customer {place * place % 4001}" if place % 3 else "nobody" for place in places],
        }
    )
