"""The language of run searches: filters and orders over a fixed set of runs, pages, and what is no filter."""

# ruff: noqa: E501 - a call a line, so that the scenes read as tables
# fmt: off
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag, ViewType

import mlflow
from mlflow import MlflowClient

RUNS = 40


def play(see):
    client = MlflowClient()
    exp = see.mask(mlflow.set_experiment("search").experiment_id, "exp")
    other = client.create_experiment("search other")
    made = {}
    for n in range(RUNS):
        run = client.create_run(other if n % 10 == 9 else exp, start_time=1_600_000_000_000 + n * 1000, tags={"mlflow.user": ["ann", "bob", "Cleo"][n % 3]}, run_name=f"run-{n:02}").info.run_id
        made[run] = f"{n:02}"
        metrics = [Metric("acc", (n % 7) / 7, 1, 0), Metric("loss", -n, 1, 0)] + ([Metric("rare", 1.0, 1, 0)] if n % 5 == 0 else []) + [Metric("a b/c", n, 1, 0)]
        if n == 3:
            metrics.append(Metric("odd", float("nan"), 1, 0))
        if n in (4, 5):
            metrics.append(Metric("odd", float("inf") * (1 if n == 4 else -1), 1, 0))
        if n in (6, 7):
            metrics.append(Metric("odd", n, 1, 0))
        client.log_batch(run, metrics, [Param("lr", str([0.1, 0.01, 1e-05][n % 3])), Param("model", ["tree", "Tree", "lin%ear", "lin_ear"][n % 4]), Param("a.b", str(n))] + ([Param("only", "x")] if n == 2 else []),
                         [RunTag("team", ["red", "blue"][n % 2]), RunTag("q uote", "it's"), RunTag("a.b.c", str(n % 4))] + ([RunTag("seldom", "")] if n % 8 == 0 else []))
        if n % 4 == 0:
            client.log_inputs(run, [DatasetInput(mlflow.entities.Dataset(f"data{n % 3}", f"dig{n % 3}", "local", "{}"), [InputTag("mlflow.data.context", ["train", "eval"][n % 8 == 0])])])
        if n % 3:
            client.set_terminated(run, ["FINISHED", "FAILED", "KILLED"][n % 3], 1_600_000_100_000 + n)
        if n % 13 == 12:
            client.delete_run(run)

    def found(text, order=None, view=ViewType.ACTIVE_ONLY, experiments=None, **more):
        return " ".join(made[r.info.run_id] for r in client.search_runs(experiments or [exp], text, view, order_by=order, **more))

    for text in FILTERS:
        see(f"filter {text}", found, text.replace("{run}", next(iter(made))))
    for text in BAD:
        see(f"no filter {text}", found, text)
    for order in ORDERS:
        see(f"order {order}", found, "", order.split(", ") if order else None)
    for order in BAD_ORDERS:
        see(f"no order {order}", found, "", [order])
    see("two experiments", found, "", ["params.`a.b`"], ViewType.ACTIVE_ONLY, [exp, other])
    see("deleted", found, "", None, ViewType.DELETED_ONLY)
    see("all", found, "", None, ViewType.ALL)
    see("deleted and filtered", found, "tags.team = 'red'", None, ViewType.ALL)
    see("no experiment", lambda: len(client.search_runs([], "")))
    see("no such experiment", lambda: len(client.search_runs(["98765"], "")))
    see("an odd experiment", lambda: len(client.search_runs(["abc"], "")))
    see("0 wanted", lambda: found("", max_results=0))
    see("50000 wanted", lambda: len(client.search_runs([exp], max_results=50_000)))
    see("50001 wanted", lambda: found("", max_results=50_001))
    see("-1 wanted", lambda: found("", max_results=-1))
    for order in ([], ["metrics.acc DESC"], ["metrics.odd"], ["params.model", "start_time ASC"]):
        pages, token = [], None
        for _ in range(6):
            page = client.search_runs([exp], "metrics.acc >= 0", order_by=order, max_results=9, page_token=token)
            pages.append(" ".join(made[r.info.run_id] for r in page))
            token = page.token
            if not token:
                break
        see.note(f"pages by {order}", pages)
    ties = [client.create_run(other, start_time=77).info.run_id for _ in range(8)]
    see("equal runs are by id", lambda: [r.info.run_id for r in client.search_runs([other], "start_time = 77")] == sorted(ties))
    see("bad token", lambda: found("", page_token="nonsense"))
    see("frame", lambda: mlflow.search_runs([exp], "metrics.acc > 0.8", order_by=["metrics.loss"], max_results=3)[["metrics.acc", "params.lr", "tags.team"]].to_dict("list"))
    see("all pages", lambda: len(mlflow.search_runs(search_all_experiments=True, filter_string="tags.team = 'red'")))


FILTERS = [
    "", "metrics.acc > 0.5", "metrics.acc >= 0.5", "metrics.acc < 0.3", "metrics.acc <= 0.42857142857142855", "metrics.acc = 0", "metrics.acc != 0", "metric.acc > 0.5", "metrics.loss < -30", "metrics.loss > -3.5", "metrics.loss >= -1e1",
    "metrics.rare = 1", "metrics.rare = 1.0", "metrics.rare != 1", "metrics.none > 0", "metrics.`a b/c` > 36", 'metrics."a b/c" > 36', "metrics.odd > 5", "metrics.odd < 0", "metrics.odd = 6", "metrics.odd != 6", "metrics.odd >= 7", "metrics.acc > .5", "metrics.acc > 5e-1", "metrics.acc > +0.5",
    "metrics.odd IS NULL", "metrics.rare IS NULL", "metrics.rare IS NOT NULL",
    "params.lr = '0.1'", "params.lr = \"0.1\"", "params.lr != '0.1'", "param.lr = '0.01'", "parameter.lr = '1e-05'", "parameters.lr = '0.1'", "params.model = 'tree'", "params.model LIKE 'tree'", "params.model LIKE 'Tr%'", "params.model ILIKE 'TR%'", "params.model LIKE 'lin_ear'", "params.model LIKE 'lin\\_ear'", "params.model LIKE '%e_r'", "params.model LIKE '%'", "params.model ILIKE '%EE'", "params.only = 'x'", "params.only != 'x'", "params.`a.b` = '7'", "params.a.b = '7'", "params.only IS NULL", "params.only IS NOT NULL", "params.none IS NULL",
    "tags.team = 'red'", "tag.team = 'red'", "tags.team != 'red'", "tags.team LIKE 'r%'", "tags.team ILIKE 'R_D'", "tags.a.b.c = '3'", "tags.`a.b.c` = '3'", "tags.\"a.b.c\" = '2'", "tags.seldom = ''", "tags.seldom IS NULL", "tags.seldom IS NOT NULL", "tags.none = 'x'", "tags.none != 'x'", "tags.`q uote` = \"it's\"", "tags.mlflow.user = 'ann'", "tags.`mlflow.runName` = 'run-07'", "tags.team IN ('red')", "params.lr IN ('0.1', '0.01')", "params.model IN ('tree','Tree')", "tags.team NOT IN ('red')",
    "status = 'FINISHED'", "attributes.status = 'FAILED'", "attribute.status != 'RUNNING'", "attr.status = 'KILLED'", "run.status = 'RUNNING'", "status = 'finished'", "status LIKE 'F%'", "status IN ('FAILED', 'KILLED')", "status NOT IN ('FAILED')", "status = 'NOWHERE'",
    "run_name = 'run-07'", "run_name LIKE 'run-1%'", "`run name` = 'run-07'", "attributes.`run name` ILIKE 'RUN-2%'", "attributes.run_name != 'run-07'", "run_name IN ('run-01', 'run-02')", "attributes.`Run name` = 'run-07'", "run_id = '{run}'", "run_id != '{run}'", "run_id IN ('{run}', 'x')", "run_id NOT IN ('{run}')", "attributes.run_id = '{run}'", "run_id LIKE '%'", "run_id ILIKE '{run}'",
    "user_id = 'ann'", "user_id LIKE '%b%'", "User = 'ann'", "attributes.user = 'bob'", "artifact_uri LIKE 'mlflow-artifacts%'", "artifact_uri = 'x'", "start_time > 1600000010000", "start_time >= 1600000010000", "attributes.start_time = 1600000010000", "start_time != 1600000010000", "Created > 1600000015000", "created < 1600000002000", "end_time > 1600000100020", "end_time < 1600000100020", "end_time != 1600000100001", "end_time IS NULL", "start_time < 1.6e12",
    "dataset.name = 'data0'", "datasets.name = 'data1'", "dataset.digest = 'dig2'", "dataset.context = 'train'", "dataset.name LIKE 'data%'", "dataset.name ILIKE 'DATA0'", "dataset.name IN ('data0', 'data1')", "dataset.name != 'data0'", "dataset.name NOT IN ('data0')", "dataset.context = 'eval' AND dataset.name = 'data0'", "dataset.digest LIKE '%2'",
    "metrics.acc > 0.5 AND params.lr = '0.1'", "metrics.acc > 0.5 and tags.team = 'blue' and status = 'FAILED'", "metrics.acc > 0.2 AND metrics.acc < 0.6", "metrics.acc > 0.2 AND metrics.loss < -20", "params.lr = '0.1' AND params.model = 'tree'", "tags.team = 'red' AND tags.a.b.c = '2' AND metrics.rare = 1", "dataset.name = 'data0' AND metrics.acc > 0.3", "start_time > 1600000010000 AND start_time < 1600000015000", "run_name LIKE 'run-0%' AND user_id = 'ann'",
    "  metrics.acc   >   0.5  ", "metrics.acc>0.5", "metrics.acc>0.5 AND\nparams.lr='0.1'", "params.model like 'tr%'", "params.model ilike 'TR%'", "tags.team = 'red' And status = 'FINISHED'", "params.lr = ''", "params.model = 'x'' OR 1=1'", "params.model = 'a;b'", "tags.team = 'AND'", "tags.team = 'a AND b'",
    "metrics.acc > 0.5;", "METRICS.acc > 0.5", "Params.lr = '0.1'", "metrics.acc > 0", "metrics.acc > 00.5", "status = \"FINISHED\"", "tags.team == 'red'", "metrics.acc <> 0",
]
BAD = [
    "metrics.acc", "metrics.acc >", "> 0.5", "acc > 0.5", "metrics.acc > 'x'", "metrics.acc > '0.5'", "metrics.acc LIKE '0%'", "metrics.acc > 0.5 OR metrics.acc < 0.1", "NOT metrics.acc > 0.5", "(metrics.acc > 0.5)", "metrics.acc > 0.5 AND", "AND metrics.acc > 0.5", "metrics.acc > 0.5 metrics.loss < 1", "metrics.acc IN (0.5)",
    "params.lr > '0.1'", "params.lr = 0.1", "params.lr = abc", "params.lr = `abc`", "params.lr =", "params. = 'x'", "params = 'x'", "tags.team > 'a'", "tags.team = 5", "foo.bar = 'x'", "attributes.foo = 'x'", "foo = 'x'", "status > 'a'", "start_time = 'x'", "start_time LIKE 'x'", "start_time > 0x10", "run_id > 'a'", "run_id IN (1, 2)", "run_id IN ()", "run_id IN 'x'", "status IN ('a'", "params.lr = 'unclosed", "tags.team IS", "tags.team IS NOT", "dataset.foo = 'x'", "dataset.name > 'x'", "dataset = 'x'", "experiment_id = '1'", "lifecycle_stage = 'active'",
    "1 = 1", "'a' = 'a'", "metrics.acc > metrics.loss", "'red' = tags.team", "0.5 < metrics.acc", "metrics.acc BETWEEN 0 AND 1", "; DROP TABLE runs", "metrics.acc > 1e400", "metrics.acc > NaN", "metrics.acc > inf", "metrics.acc > --1", "metrics.acc >> 1", "metrics.acc > 1 AND (params.lr = '0.1')", "tags.team = 'red' AND AND status = 'x'", "*", "select", "metrics.acc > 0.5 -- c", "metrics.acc > 0.5 /* c */",
]
ORDERS = [
    "", "metrics.acc", "metrics.acc DESC", "metrics.acc ASC, metrics.loss DESC", "metrics.odd", "metrics.odd DESC", "metrics.rare", "metrics.none", "metrics.`a b/c` DESC", "params.lr", "params.lr DESC, start_time", "params.only", "params.only DESC", "params.`a.b`", "tags.team, params.model DESC", "tags.seldom", "start_time", "start_time ASC, params.`a.b`", "attributes.start_time DESC", "attribute.start_time ASC, run_name DESC", "end_time", "end_time DESC", "status", "status, run_name", "run_name", "run_name DESC", "`run name`", "user_id, run_name", "Created DESC", "metric.acc asc, run_name", "parameter.model, run_name", "tag.team desc, run_name",
]
BAD_ORDERS = ["acc", "metrics.acc SIDEWAYS", "metrics.acc DESC ASC", "foo.bar", "attributes.foo", "metrics.acc,params.lr", "metrics.acc > 0.5", "", "dataset.name", "1", "metrics."]
