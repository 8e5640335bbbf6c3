"""How much worse a model may become before the loop acts, in the unit of the metric."""

from typing import Final

from msgspec import Struct

UNBOUNDED: Final = frozenset({"log_loss", "mae", "rmse"})
"""Errors that know no largest value, so that only a share of one says much."""


class Tolerance(Struct, frozen=True):
    """What is allowed where boucle.yaml does not say it."""

    points: float
    """Of a metric that ends at 1."""
    share: float
    """Of an unbounded error, as a part of its value."""

    def of(self, metric: str, value: float, asked: float | None) -> float:
        """What is asked for; else the default for a metric that was `value`.

        >>> DECAY.of("auc_roc", 0.7, None), DECAY.of("rmse", 50.0, None), DECAY.of("rmse", 50.0, 4.0)
        (0.02, 2.5, 4.0)
        """
        if asked is not None:
            return asked
        return self.share * abs(value) if metric in UNBOUNDED else self.points


DECAY: Final = Tolerance(points=0.02, share=0.05)
LOSS: Final = Tolerance(points=0.01, share=0.02)
