"""What every page that is written shares: one HTML file, no network, no clock, every text escaped."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

import msgspec
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from boucle.app import charts

_NONE: Final[Mapping[str, Callable[..., str]]] = {}


def rendered(
    name: str, specs: Mapping[str, charts.Spec], *, filters: Mapping[str, Callable[..., str]] = _NONE, **values: Any
) -> str:
    """A template with its charts, by the ids of their places, and its values. The same ones give the same text."""
    return plainly(
        name,
        filters=filters,
        charts=specs,
        data=_script({"specs": specs, "dark": charts.dark_colors()}),
        light=msgspec.structs.asdict(charts.LIGHT),
        dark=msgspec.structs.asdict(charts.DARK),
        script=as_it_stands("report.js"),
        vega=libraries(),
        **values,
    )


def plainly(name: str, *, filters: Mapping[str, Callable[..., str]] = _NONE, **values: Any) -> str:
    """A template without the libraries that draw charts in the page."""
    environment = Environment(
        loader=PackageLoader("boucle.app", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name).render(style=as_it_stands("report.css"), **values)


@cache
def libraries() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script. It holds no closing tag, which a test checks; made in a second."""
    return Markup(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def as_it_stands(name: str) -> Markup:
    """A file of the pages' own."""
    return Markup((resources.files("boucle.app") / "templates" / name).read_text(encoding="utf-8"))


def _script(value: object) -> Markup:
    """JSON to stand inside a script element, where only `<` could end it."""
    return Markup(msgspec.json.encode(value).decode().replace("<", "\\u003c"))
