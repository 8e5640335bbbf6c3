"""scikit-learn's models that are a sum of products at heart, and its networks of layers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from boucle.kernel.errors import CannotCompile
from boucle.packaging.compilers.blocks import Block, Model, Writing, compiles, numbers
from boucle.packaging.compilers.graph import DOUBLE
from boucle.packaging.compilers.trees import above, boosted, classifier


@compiles(
    "sklearn",
    *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "SGDRegressor"),
    *("BayesianRidge", "ARDRegression", "HuberRegressor", "LinearSVR", "Lars", "LassoLars", "TheilSenRegressor"),
    *("QuantileRegressor", "OrthogonalMatchingPursuit", "MultiTaskLasso", "MultiTaskElasticNet"),
)
def regression(writing: Writing, model: Any, block: Block) -> Model:
    """Values of a linear model."""
    weights = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    name = writing.graph.affine(numbers(block, model), weights.T, _bias(model, len(weights)))
    return Model(name=name, width=len(weights), task="regression")


@compiles("sklearn", "PoissonRegressor", "GammaRegressor", "TweedieRegressor")
def generalised(writing: Writing, model: Any, block: Block) -> Model:
    """A linear model behind a logarithm."""
    found = regression(writing, model, block)
    kind = type(model._base_loss.link).__name__
    if kind not in ("LogLink", "IdentityLink"):
        raise CannotCompile(f"{type(model).__name__} with {kind} cannot be compiled")
    name = writing.graph.node("Exp", found.name) if kind == "LogLink" else found.name
    return Model(name=name, width=1, task="regression")


@compiles("sklearn", "LogisticRegression", "LogisticRegressionCV", "LinearDiscriminantAnalysis")
def logistic(writing: Writing, model: Any, block: Block) -> Model:
    """Margins, made probabilities by the last stage."""
    classes = list(model.classes_)
    name = _margins(writing, model, block)
    if len(classes) > 2 and (getattr(model, "solver", "") == "liblinear" or getattr(model, "multi_class", "") == "ovr"):
        return _one_against_rest(writing, name, classes)
    if len(classes) == 2 and getattr(model, "multi_class", "") == "multinomial":
        name = writing.graph.node("Mul", name, writing.graph.constant(2.0))
    return boosted(name, 1 if len(classes) == 2 else len(classes), classes)


@compiles(
    "sklearn",
    *("RidgeClassifier", "RidgeClassifierCV", "LinearSVC", "Perceptron", "PassiveAggressiveClassifier"),
)
def margin(writing: Writing, model: Any, block: Block) -> Model:
    """A classifier that knows no probabilities: the distance from the border is its score."""
    return margins(_margins(writing, model, block), list(model.classes_))


@compiles("sklearn", "SGDClassifier")
def stochastic(writing: Writing, model: Any, block: Block) -> Model:
    """Probabilities where the loss gives some."""
    classes = list(model.classes_)
    name = _margins(writing, model, block)
    if model.loss != "log_loss":
        if model.loss != "modified_huber":
            return margins(name, classes)
        if len(classes) > 2:
            raise CannotCompile("SGDClassifier with loss='modified_huber' is compiled for two classes only")
        graph = writing.graph
        cut = graph.node("Clip", name, graph.constant(-1.0), graph.constant(1.0))
        return classifier(
            graph.node("Div", graph.node("Add", cut, graph.constant(1.0)), graph.constant(2.0)), 1, classes
        )
    return boosted(name, 1, classes) if len(classes) == 2 else _one_against_rest(writing, name, classes)


@compiles("sklearn", "MLPClassifier", "MLPRegressor")
def perceptron(writing: Writing, model: Any, block: Block) -> Model:
    """Layers."""
    graph, name = writing.graph, numbers(block, model)
    operator = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "identity": "Identity"}[model.activation]
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    for place, (weights, bias) in enumerate(layers):
        name = graph.affine(name, np.asarray(weights, np.float64), np.asarray(bias, np.float64))
        if place < len(layers) - 1:
            name = graph.node(operator, name)
    if not hasattr(model, "classes_"):
        return Model(name=name, width=model.n_outputs_, task="regression")
    if model.out_activation_ == "logistic" and len(model.classes_) > 2:
        raise CannotCompile("MLPClassifier of several labels at once cannot be compiled")
    return boosted(name, model.n_outputs_, list(model.classes_))


@compiles("sklearn", "GaussianNB")
def gaussian_bayes(writing: Writing, model: Any, block: Block) -> Model:
    """Log-likelihoods of independent normal distributions."""
    graph = writing.graph
    rows = graph.node("Unsqueeze", numbers(block, model), graph.constant([1], np.int64))
    apart = graph.node("Sub", rows, graph.constant(model.theta_[None]))
    squares = graph.node("Div", graph.node("Mul", apart, apart), graph.constant(model.var_[None]))
    total = graph.summed(squares, axis=2, keep=False)
    constant = np.log(model.class_prior_) - 0.5 * np.log(2.0 * np.pi * model.var_).sum(axis=1)
    name = graph.node("Sub", graph.constant(constant[None]), graph.node("Mul", graph.constant(0.5), total))
    return likelihoods(writing, name, list(model.classes_))


@compiles("sklearn", "MultinomialNB", "BernoulliNB", "ComplementNB")
def counting_bayes(writing: Writing, model: Any, block: Block) -> Model:
    """Log-likelihoods of counts, or of what is there."""
    graph, name = writing.graph, numbers(block, model)
    weights, bias = np.asarray(model.feature_log_prob_), np.asarray(model.class_log_prior_)
    if type(model).__name__ == "BernoulliNB":
        if model.binarize is not None:
            name = graph.cast(graph.node("Greater", name, graph.constant(float(model.binarize))), DOUBLE)
        absent = np.log(1 - np.exp(weights))
        weights, bias = weights - absent, bias + absent.sum(axis=1)
    elif type(model).__name__ == "ComplementNB" and len(model.classes_) > 1:
        bias = np.zeros(len(model.classes_))
    return likelihoods(writing, graph.affine(name, weights.T, bias[None]), list(model.classes_))


@compiles("sklearn", "QuadraticDiscriminantAnalysis")
def quadratic(writing: Writing, model: Any, block: Block) -> Model:
    """Log-likelihoods of normal distributions, each with its own shape."""
    graph, rows, made = writing.graph, numbers(block, model), []
    for mean, turn, scale, prior in zip(model.means_, model.rotations_, model.scalings_, model.priors_, strict=True):
        apart = graph.node("Sub", rows, graph.constant(np.asarray(mean)[None]))
        turned = graph.node("MatMul", apart, graph.constant(turn * scale ** (-0.5)))
        length = graph.summed(graph.node("Mul", turned, turned))
        half = graph.node("Mul", graph.constant(-0.5), length)
        made.append(graph.node("Add", half, graph.constant(np.log(prior) - 0.5 * np.log(scale).sum())))
    return likelihoods(writing, graph.joined(made), list(model.classes_))


@compiles("sklearn", "SVC", "NuSVC", "SVR", "NuSVR")
def support_vectors(writing: Writing, model: Any, block: Block) -> Model:
    """Sums of kernels; of several classes, the votes of each pair."""
    if model.kernel not in ("linear", "rbf", "poly", "sigmoid"):
        raise CannotCompile(f"{type(model).__name__} with kernel={model.kernel!r} cannot be compiled")
    kernel = _kernel(writing, model, numbers(block, model))
    if not hasattr(model, "classes_"):
        return Model(
            name=writing.graph.affine(kernel, model.dual_coef_.T, model.intercept_), width=1, task="regression"
        )
    classes = list(model.classes_)
    if len(classes) == 2:
        return margins(writing.graph.affine(kernel, model.dual_coef_.T, model.intercept_), classes)
    return _votes(writing, model, kernel, classes)


def _votes(writing: Writing, model: Any, kernel: str, classes: list[Any]) -> Model:
    # libsvm's pairs: dual_coef_[j - 1] of class i's vectors and dual_coef_[i] of class j's
    if model.break_ties:
        raise CannotCompile(f"{type(model).__name__} with break_ties=True cannot be compiled")
    ends = np.cumsum(model.n_support_)
    pairs = [(i, j) for i in range(len(classes)) for j in range(i + 1, len(classes))]
    weights = np.zeros((len(model.support_vectors_), len(pairs)))
    votes = np.zeros((2, len(pairs), len(classes)))
    for number, (i, j) in enumerate(pairs):
        first, second = (slice(ends[one] - model.n_support_[one], ends[one]) for one in (i, j))
        weights[first, number] = model.dual_coef_[j - 1, first]
        weights[second, number] = model.dual_coef_[i, second]
        votes[0, number, i] = votes[1, number, j] = 1.0
    graph = writing.graph
    apart = graph.affine(kernel, weights, model.intercept_)
    won = graph.cast(graph.node("Greater", apart, graph.constant(0.0)), DOUBLE)
    name = graph.affine(won, votes[0] - votes[1], votes[1].sum(axis=0))
    return Model(
        name=name,
        width=len(classes),
        task="multiclass",
        classes=classes,
        probabilities=False,
        threshold=0.0,
        votes=True,
    )


def _kernel(writing: Writing, model: Any, rows: str) -> str:
    graph, vectors = writing.graph, np.asarray(model.support_vectors_, np.float64)
    product = graph.node("MatMul", rows, graph.constant(vectors.T))
    if model.kernel == "linear":
        return product
    if model.kernel == "rbf":
        own = graph.summed(graph.node("Mul", rows, rows))
        apart = graph.node(
            "Sub",
            graph.node("Add", own, graph.constant((vectors**2).sum(axis=1)[None])),
            graph.node("Mul", graph.constant(2.0), product),
        )
        return graph.node("Exp", graph.node("Mul", graph.constant(-float(model._gamma)), apart))
    inner = graph.node(
        "Add", graph.node("Mul", graph.constant(float(model._gamma)), product), graph.constant(float(model.coef0))
    )
    if model.kernel == "sigmoid":
        return graph.node("Tanh", inner)
    return graph.node("Pow", inner, graph.constant(float(model.degree)))


def margins(name: str, classes: list[Any]) -> Model:
    """Distances from the border, of the positive class or of each."""
    several = len(classes) > 2
    return Model(
        name=name,
        width=len(classes) if several else 1,
        task="multiclass" if several else "binary",
        classes=classes,
        probabilities=False,
        threshold=above(0.0),
    )


def likelihoods(writing: Writing, name: str, classes: list[Any]) -> Model:
    """Log-likelihoods of each class, (n_rows, n_classes), as a model."""
    if len(classes) > 2:
        return boosted(name, len(classes), classes)
    graph = writing.graph
    return boosted(graph.node("Sub", graph.columns(name, [1]), graph.columns(name, [0])), 1, classes)


def _one_against_rest(writing: Writing, name: str, classes: list[Any]) -> Model:
    graph = writing.graph
    each = graph.node("Sigmoid", name)
    total = graph.summed(each)
    none = graph.node("Equal", total, graph.constant(0.0))  # then all classes are alike
    each = graph.node("Where", none, graph.constant(1.0), each)
    total = graph.node("Where", none, graph.constant(float(len(classes))), total)
    return classifier(graph.node("Div", each, total), len(classes), classes)


def _margins(writing: Writing, model: Any, block: Block) -> str:
    weights: NDArray[np.float64] = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    return writing.graph.affine(numbers(block, model), weights.T, _bias(model, len(weights)))


def _bias(model: Any, width: int) -> NDArray[np.float64]:
    return np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64).reshape(-1), (width,)).reshape(1, width)
