"""MLflow's doors to experiments."""

from msgspec import Struct, field

from boucle.identity.http import Request, Response, Route
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.protocols.mlflow.entities import experiment_message, experiment_number
from boucle.protocols.mlflow.errors import EMPTY, reply
from boucle.protocols.mlflow.messages import KeyValue, asked, decode, missing
from boucle.runs import experiments


class CreateExperiment(Struct, frozen=True):
    """What `experiments/create` is sent."""

    name: str = ""
    artifact_location: str = ""
    tags: list[KeyValue] = field(default_factory=list)


class OneExperiment(Struct, frozen=True):
    """What names an experiment, with the fields of all that is done to one."""

    experiment_id: str = ""
    new_name: str = ""
    key: str = ""
    value: str = ""

    @property
    def number(self) -> int:
        """The experiment's id."""
        if not self.experiment_id:
            raise missing("experiment_id")
        return experiment_number(self.experiment_id)


class NamedExperiment(Struct, frozen=True):
    """What `experiments/get-by-name` is sent."""

    experiment_name: str = ""


def routes(store: Store) -> list[Route]:
    """Every door, but searching."""

    def create(request: Request) -> Response:
        message = decode(request.body, CreateExperiment)
        if not message.name:
            raise missing("name")
        if message.artifact_location and not message.artifact_location.startswith("mlflow-artifacts:"):
            raise InvalidInput(
                f"artifact_location is {message.artifact_location[:200]!r}; allowed is none, or mlflow-artifacts:/; "
                "this server keeps all artifacts in its own store, and clients send them to it",
                hint="mlflow.create_experiment(NAME), without artifact_location; files that lie elsewhere already: "
                "mlflow.log_artifacts(FOLDER) in a run",
            )
        tags = {tag.key: tag.value for tag in message.tags}
        number = experiments.create_experiment(store, request.project, message.name, tags)
        return reply({"experiment_id": str(number)})

    def get(request: Request) -> Response:
        found = experiments.get_experiment(store, request.project, asked(request, OneExperiment).number)
        return reply({"experiment": experiment_message(found)})

    def get_by_name(request: Request) -> Response:
        name = asked(request, NamedExperiment).experiment_name
        if not name:
            raise missing("experiment_name")
        return reply({"experiment": experiment_message(experiments.experiment_by_name(store, request.project, name))})

    def delete(request: Request) -> Response:
        experiments.delete_experiment(store, request.project, decode(request.body, OneExperiment).number)
        return EMPTY

    def restore(request: Request) -> Response:
        experiments.restore_experiment(store, request.project, decode(request.body, OneExperiment).number)
        return EMPTY

    def update(request: Request) -> Response:
        message = decode(request.body, OneExperiment)
        if not message.new_name:
            raise missing("new_name")
        experiments.rename_experiment(store, request.project, message.number, message.new_name)
        return EMPTY

    def set_tag(request: Request) -> Response:
        message = decode(request.body, OneExperiment)
        experiments.set_experiment_tag(store, request.project, message.number, message.key, message.value)
        return EMPTY

    def delete_tag(request: Request) -> Response:
        message = decode(request.body, OneExperiment)
        if not message.key:
            raise missing("key")
        experiments.delete_experiment_tag(store, request.project, message.number, message.key)
        return EMPTY

    here = "/mlflow/experiments"
    return [
        Route("POST", f"{here}/create", "write", create),
        Route("GET", f"{here}/get", "read", get),
        Route("GET", f"{here}/get-by-name", "read", get_by_name),
        Route("POST", f"{here}/delete", "write", delete),
        Route("POST", f"{here}/restore", "write", restore),
        Route("POST", f"{here}/update", "write", update),
        Route("POST", f"{here}/set-experiment-tag", "write", set_tag),
        Route("POST", f"{here}/delete-experiment-tag", "write", delete_tag),
    ]
