"""Takes a prediction log's closed segments away, and says how many rows are gone: `main([home, endpoint])`."""

from pathlib import Path

from boucle.serving.log_bound import drop_oldest


def main(arguments: list[str]) -> None:
    home, endpoint = arguments
    print(f"dropped {drop_oldest(Path(home), endpoint, 0).dropped_rows}", flush=True)  # noqa: T201
