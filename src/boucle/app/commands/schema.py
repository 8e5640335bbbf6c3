"""`boucle schema`"""

import typer


def schema(as_json: bool = typer.Option(False, "--json", help="The schema is JSON in any case.")) -> None:  # noqa: ARG001
    """Print the JSON Schema of boucle.yaml.

    Editors complete and check the file by it.

    \b
    Example:
      boucle schema > boucle.schema.json
      and as the first line of boucle.yaml:
      # yaml-language-server: $schema=boucle.schema.json
    """
    from boucle.app.console import print_json
    from boucle.project.schema import json_schema

    print_json(json_schema())
