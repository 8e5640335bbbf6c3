"""Which estimators compile, on what data, by which compiler, and what the parity proof says of each.

`make compile-matrix` runs all cells (about ten minutes) and writes `matrix.json` and `docs/compile.md`. Every
compiler is judged by the same proof with a tolerance of 1e-5, the coarsest that Boucle itself allows.
"""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from sklearn import compose, ensemble, impute, linear_model, naive_bayes, neighbors, neural_network, pipeline, svm, tree
from sklearn import discriminant_analysis as discriminant
from sklearn import preprocessing as pre

from boucle.kernel.errors import BoucleError, Refused
from boucle.packaging import compile as own
from boucle.packaging.compilers.original import asked, sample_of
from boucle.packaging.parity import Answer, Ask, prove

HERE = Path(__file__).resolve().parent
ROWS, COLUMNS = 400, 5
TOLERANCE = 1e-5
KINDS = {
    "numbers": "plain numbers",
    "missing": "a tenth of the values missing",
    "native": "two columns of pandas's `category` type, given to the estimator as they are",
    "one-hot": "the same two columns as text, behind `OneHotEncoder(handle_unknown='ignore')`",
    "borders": "numbers that float32 cannot tell apart: 16,777,216 and a few units more",
}
COMPILERS = ("boucle", "skl2onnx", "treelite")


def estimators() -> dict[str, Callable[[], Any]]:
    """The estimators by name, unfitted."""
    few = {"n_estimators": 20, "random_state": 0}
    found: dict[str, Callable[[], Any]] = {
        "LogisticRegression": lambda: linear_model.LogisticRegression(max_iter=1000),
        "SGDClassifier": lambda: linear_model.SGDClassifier(loss="log_loss", random_state=0),
        "RidgeClassifier": linear_model.RidgeClassifier,
        "LinearSVC": svm.LinearSVC,
        "SVC": svm.SVC,
        "KNeighborsClassifier": neighbors.KNeighborsClassifier,
        "GaussianNB": naive_bayes.GaussianNB,
        "MLPClassifier": lambda: neural_network.MLPClassifier(max_iter=50, random_state=0),
        "LinearDiscriminantAnalysis": discriminant.LinearDiscriminantAnalysis,
        "QuadraticDiscriminantAnalysis": lambda: discriminant.QuadraticDiscriminantAnalysis(reg_param=0.1),
        "DecisionTreeClassifier": lambda: tree.DecisionTreeClassifier(random_state=0),
        "RandomForestClassifier": lambda: ensemble.RandomForestClassifier(**few),
        "ExtraTreesClassifier": lambda: ensemble.ExtraTreesClassifier(**few),
        "GradientBoostingClassifier": lambda: ensemble.GradientBoostingClassifier(**few),
        "HistGradientBoostingClassifier": lambda: ensemble.HistGradientBoostingClassifier(max_iter=20),
        "AdaBoostClassifier": lambda: ensemble.AdaBoostClassifier(**few),
        "BaggingClassifier": lambda: ensemble.BaggingClassifier(random_state=0),
        "VotingClassifier": lambda: ensemble.VotingClassifier(
            [("a", linear_model.LogisticRegression(max_iter=1000)), ("b", tree.DecisionTreeClassifier(max_depth=4))],
            voting="soft",
        ),
        "VotingClassifier, hard": lambda: ensemble.VotingClassifier(
            [("a", linear_model.LogisticRegression(max_iter=1000)), ("b", tree.DecisionTreeClassifier(max_depth=4))]
        ),
        **{
            f"{type(step).__name__}{more}": lambda step=step: pipeline.make_pipeline(
                step, linear_model.LogisticRegression(max_iter=1000)
            )
            for step, more in (
                (pre.QuantileTransformer(n_quantiles=100), ""),
                (pre.QuantileTransformer(n_quantiles=100, output_distribution="normal"), ", normal"),
                (pre.PowerTransformer(), ""),
                (pre.KBinsDiscretizer(quantile_method="averaged_inverted_cdf"), ""),
                (pre.SplineTransformer(), ""),
            )
        },
        "LinearRegression": linear_model.LinearRegression,
        "Ridge": linear_model.Ridge,
        "Lasso": linear_model.Lasso,
        "SVR": svm.SVR,
        "KNeighborsRegressor": neighbors.KNeighborsRegressor,
        "MLPRegressor": lambda: neural_network.MLPRegressor(max_iter=50, random_state=0),
        "DecisionTreeRegressor": lambda: tree.DecisionTreeRegressor(random_state=0),
        "RandomForestRegressor": lambda: ensemble.RandomForestRegressor(**few),
        "GradientBoostingRegressor": lambda: ensemble.GradientBoostingRegressor(**few),
        "HistGradientBoostingRegressor": lambda: ensemble.HistGradientBoostingRegressor(max_iter=20),
    }
    try:
        import xgboost

        found["XGBClassifier"] = lambda: xgboost.XGBClassifier(n_estimators=20, enable_categorical=True)
        found["XGBRegressor"] = lambda: xgboost.XGBRegressor(n_estimators=20, enable_categorical=True)
        import lightgbm

        found["LGBMClassifier"] = lambda: lightgbm.LGBMClassifier(n_estimators=20, verbose=-1)
        found["LGBMRegressor"] = lambda: lightgbm.LGBMRegressor(n_estimators=20, verbose=-1)
        found["LGBMRanker"] = lambda: lightgbm.LGBMRanker(n_estimators=20, verbose=-1)
    except (ImportError, OSError):  # lightgbm needs a library of the system
        pass
    return found


NATIVE = ("Hist", "XGB", "LGBM")
NO_GAPS = ("Hist", "XGB", "LGBM", "RandomForest", "ExtraTrees", "DecisionTree", "Bagging")
ROUGH = ("SVC", "SVR", "SGD", "MLP", "KNeighbors", "Voting", "LinearSVC", "Logistic")


def tables(kind: str) -> pd.DataFrame:
    """The rows of a kind of data."""
    draw = np.random.default_rng(4)
    numbers = draw.normal(size=(ROWS, COLUMNS))
    if kind == "missing":
        numbers[draw.random(numbers.shape) < 0.1] = np.nan
    if kind == "borders":
        numbers = 16_777_216.0 + draw.integers(0, 12, numbers.shape)
    table = pd.DataFrame(numbers, columns=[f"n{place}" for place in range(COLUMNS)])
    if kind in ("native", "one-hot"):
        dtype = "category" if kind == "native" else object
        table["city"] = pd.Series(draw.choice(["Lima", "Oslo", "Rome", "Kyiv", "Bonn", "Nice"], ROWS)).astype(dtype)
        table["size"] = pd.Series(draw.choice(["S", "M", "L"], ROWS)).astype(dtype)
    return table


def fitted(name: str, kind: str) -> tuple[Any, pd.DataFrame]:
    """An estimator fitted on a kind of data, with what it needs before it."""
    table = tables(kind)
    numbers = table[[column for column in table if str(column).startswith("n")]].fillna(0.0)
    scaled = (numbers - numbers.mean()) / numbers.std()
    value = scaled["n0"] + scaled["n1"] ** 2 - scaled["n2"]
    if kind in ("native", "one-hot"):
        value = value + 2.0 * table["city"].isin(["Oslo", "Nice"]) - table["size"].astype(str).eq("M")
    model = estimators()[name]()
    if kind == "missing" and not name.startswith(NO_GAPS):
        model = pipeline.make_pipeline(impute.SimpleImputer(), model)
    if kind == "borders" and name.startswith(ROUGH):
        model = pipeline.make_pipeline(pre.StandardScaler(), model)
    if kind == "one-hot":
        hot = pre.OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        columns = compose.ColumnTransformer([("hot", hot, ["city", "size"])], remainder="passthrough")
        model = pipeline.make_pipeline(columns, model)
    answers = value if name.endswith(("Regressor", "Regression", "Ridge", "Lasso", "SVR")) else (value > 1).astype(int)
    if name == "LogisticRegression":
        answers = (value > 1).astype(int)
    step = f"{name.lower()}__" if kind == "one-hot" else ""
    groups = {f"{step}group": [ROWS]} if name.endswith("Ranker") else {}
    return model.fit(table, answers, **groups), table


def judged(name: str, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the proof says of each compiler."""
    model, table = fitted(name, kind)
    sample = sample_of(table, [str(column) for column in table])
    found, _, _, writing = own._written(model, sample)
    try:
        made = own.compile_model(model, table)
    except BoucleError as error:
        yield "boucle", _said(error)
        return
    parity = made.parity
    yield "boucle", {"largest": parity.largest_difference, "flips": parity.label_flips}
    original = asked(model, found, sample.restore)
    for compiler, compile_with in (("skl2onnx", by_skl2onnx), ("treelite", by_treelite)):
        try:
            ask = compile_with(model, table, made.signature)
            if ask is None:
                continue
            parity = prove(
                original,
                ask,
                made.signature,
                sample.table,
                thresholds=own._thresholds(writing),
                compiler=compiler,
                tolerance=TOLERANCE,
            )
            yield compiler, {"largest": parity.largest_difference, "flips": parity.label_flips}
        except Exception as error:  # noqa: BLE001 # a converter raises what it likes
            yield compiler, _said(error)


def _said(error: Exception) -> dict[str, Any]:
    if isinstance(error, Refused) and error.details:
        return {"off": error.details["largest_difference"], "flips": error.details["label_flips"]}
    return {"cannot": type(error).__name__}


def by_skl2onnx(model: Any, _: pd.DataFrame, signature: Any) -> Ask | None:
    """skl2onnx with float32 inputs, as its documentation shows; text columns as text."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    if type(last).__module__.partition(".")[0] != "sklearn":
        return None  # it takes converters of other packages for those
    import onnxruntime
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    texts = [one.name for one in signature.inputs if one.kind == "category"]
    whole = not texts
    types = (
        [("X", FloatTensorType([None, len(signature.inputs)]))]
        if whole
        else [
            (one.name, StringTensorType([None, 1]) if one.name in texts else FloatTensorType([None, 1]))
            for one in signature.inputs
        ]
    )
    wanted: dict[str, bool] = {"zipmap": False} if signature.classes and not isinstance(last, svm.LinearSVC) else {}
    if signature.margins:
        wanted["raw_scores"] = True
    options = {id(model): wanted} if wanted else None
    data = to_onnx(model, initial_types=types, options=options).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def ask(rows: pl.DataFrame) -> Answer:
        if not rows.height:
            return Answer(np.empty(0), [])  # many of its graphs fail on nothing, which is no question of numbers
        if whole:
            feed = {"X": rows.to_numpy().astype(np.float32).reshape(rows.height, len(signature.inputs))}
        else:
            feed = {
                one.name: np.array(rows[one.name].fill_null("").to_list(), dtype=object)[:, None]
                if one.name in texts
                else rows[one.name].to_numpy().astype(np.float32)[:, None]
                for one in signature.inputs
            }
        outputs = session.run(None, feed)
        scores = np.asarray(outputs[-1], dtype=np.float64)
        if signature.task != "multiclass" and scores.ndim == 2:
            scores = scores[:, -1]
        return Answer(scores, [str(one) for one in outputs[0].tolist()] if signature.classes else [])

    return ask


def by_treelite(model: Any, _: pd.DataFrame, signature: Any) -> Ask | None:
    """treelite's own importers, for plain trees of numbers."""
    kind = type(model)
    trees = ("RandomForest", "ExtraTrees", "GradientBoosting", "HistGradient", "XGB", "LGBM")
    if not kind.__name__.startswith(trees) or any(one.kind == "category" for one in signature.inputs):
        return None
    import treelite

    package = kind.__module__.partition(".")[0]
    if package == "sklearn":
        loaded = treelite.sklearn.import_model(model)
    elif package == "xgboost":
        loaded = treelite.frontend.from_xgboost(model.get_booster())
    else:
        loaded = treelite.frontend.from_lightgbm(model.booster_)
    dtype = np.float32 if package == "xgboost" else np.float64

    def ask(rows: pl.DataFrame) -> Answer:
        matrix = np.ascontiguousarray(rows.to_numpy().astype(dtype))
        answer = np.asarray(treelite.gtil.predict(loaded, matrix, nthread=1), dtype=np.float64)[:, 0, :]
        scores = answer[:, -1]
        labels = [signature.classes[int(one)] for one in scores >= signature.threshold] if signature.classes else []
        return Answer(scores, labels)

    return ask


def cells(only: str = "") -> dict[str, dict[str, dict[str, Any]]]:
    """All outcomes: estimator, kind of data, compiler."""
    warnings.simplefilter("ignore")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in estimators():
        for kind in KINDS:
            if only not in name or (kind == "native" and not name.startswith(NATIVE)):
                continue
            with np.errstate(all="ignore"):
                found.setdefault(name, {})[kind] = dict(judged(name, kind))
            print(name, kind, found[name][kind], file=sys.stderr, flush=True)  # noqa: T201 # progress
    return found


def main() -> None:
    """Run every cell, keep them, and write the page."""
    import page

    (HERE / "matrix.json").write_text(json.dumps(cells(), indent=1) + "\n", encoding="utf-8")
    page.write()


if __name__ == "__main__":
    main()
