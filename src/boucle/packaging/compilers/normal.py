"""Percentiles of the normal distribution as nodes of a graph, exact to float64's last digits.

Wichura, M. J. (1988). Algorithm AS 241: The percentage points of the normal distribution. Applied Statistics 37 (3),
477-484: routine PPND16, whose third part is for shares nearer to 0 and 1 than are asked for here.
"""

from typing import Final

import numpy as np

from boucle.packaging.compilers.graph import Graph

_MIDDLE: Final = (
    (
        *(3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4),
        *(4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    ),
    (
        *(1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3),
        *(2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
    ),
)
_TAIL: Final = (
    (
        *(1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0),
        *(1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    ),
    (
        *(1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1),
        *(1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
    ),
)


def percentile(graph: Graph, share: str, least: float) -> str:
    """The number below which a share of a normal distribution lies, for shares from `least` to `1 - least`, into which
    others are moved. `least` is at least 2e-11."""
    low = least - float(np.spacing(1.0))  # as scikit-learn has it
    share = graph.node("Min", graph.node("Max", share, graph.constant(low)), graph.constant(1.0 - low))
    half = graph.node("Sub", share, graph.constant(0.5))
    inner = graph.node("Sub", graph.constant(0.180625), graph.node("Mul", half, half))
    middle = graph.node("Mul", half, _ratio(graph, inner, _MIDDLE))
    nearer = graph.node("Min", share, graph.node("Sub", graph.constant(1.0), share))
    far = graph.node("Sqrt", graph.node("Neg", graph.node("Log", nearer)))
    tail = _ratio(graph, graph.node("Sub", far, graph.constant(1.6)), _TAIL)
    tail = graph.node("Where", graph.node("Less", half, graph.constant(0.0)), graph.node("Neg", tail), tail)
    near = graph.node("LessOrEqual", graph.node("Abs", half), graph.constant(0.425))
    return graph.node("Where", near, middle, tail)


def _ratio(graph: Graph, name: str, parts: tuple[tuple[float, ...], tuple[float, ...]]) -> str:
    above, below = (_polynomial(graph, name, one) for one in parts)
    return graph.node("Div", above, below)


def _polynomial(graph: Graph, name: str, coefficients: tuple[float, ...]) -> str:
    found = graph.constant(coefficients[-1])
    for one in reversed(coefficients[:-1]):
        found = graph.node("Add", graph.node("Mul", found, name), graph.constant(one))
    return found
