"""Every door of the MLflow protocol."""

from typing import Final

from boucle.identity.http import Surface
from boucle.protocols.control import Control
from boucle.protocols.mlflow import (
    artifacts,
    experiments,
    inputs,
    log,
    logged_models,
    metrics,
    multipart,
    registry,
    runs,
    search,
    versions,
    webhooks,
)
from boucle.protocols.mlflow.errors import refuse
from boucle.runs.inbox import Inbox

NOT_SPOKEN: Final = ("/api/3.0", "/ajax-api/3.0", "/v1/traces", "/version", "/graphql", "/gateway")
"""Where MLflow's client looks for what is not here: traces, evaluation datasets, the gateway. It is told that there is
no such endpoint, and does without, as with an older server.

`/version` is among them on purpose. The client asks it for one thing (`RestStore.log_spans` of 3.17.2): whether the
server takes spans, which it sends to 3.4 and newer. Any version we named would claim either spans or the age of our
routes wrongly; without an answer it takes spans for not supported."""


def surface(control: Control) -> Surface:
    """The routes behind both of the prefixes that MLflow's clients use."""
    store = control.store
    inbox = Inbox(store)
    routes = [
        *experiments.routes(store),
        *runs.routes(store, inbox),
        *log.routes(inbox),
        *metrics.routes(store),
        *inputs.routes(store),
        *search.routes(store),
        *registry.routes(store),
        *versions.routes(store),
        *artifacts.routes(store),
        *multipart.routes(store),
        *logged_models.routes(store),
        *webhooks.routes(store),
    ]
    return Surface(
        routes=routes,
        refuse=refuse,
        prefixes=("/api/2.0", "/ajax-api/2.0"),
        outer=artifacts.outer_routes(store),
        claims=NOT_SPOKEN,
    )
