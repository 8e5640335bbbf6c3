"""What is said about a version, each as one claim: data, evaluation, parity, card, bill of materials, reviews.

All of it comes from records, moments too, so that asking twice gives the same bytes. A claim about something that is
not there is not made, and `MISSING` tells of it in the card.
"""

from typing import Any, Final

from msgspec import to_builtins

from boucle.governance.claims.card import card
from boucle.governance.claims.facts import Facts, facts_of
from boucle.governance.claims.ml_bom import BOM_TYPE, ml_bom
from boucle.kernel.store import Store
from boucle.models.records import ModelVersion
from boucle.packaging.beside import CARD, ML_BOM
from boucle.packaging.statements import OWN, Claim

EVERY: Final = ("training-data", "evaluation", "parity", CARD, ML_BOM, "reviews")
"""All that may be said, in the order in which it is shown."""


def claims_of(store: Store, version: ModelVersion) -> dict[str, Claim]:
    """What can be said about a version, by name; what nothing is known about is left out."""
    facts = facts_of(store, version)
    said: dict[str, dict[str, Any] | None] = {
        "training-data": _training_data(facts),
        "evaluation": _evaluation(facts),
        "parity": None
        if facts.manifest is None or facts.manifest.parity is None
        else to_builtins(facts.manifest.parity),
        CARD: card(facts),
        "reviews": _reviews(facts),
    }
    claims = {name: Claim(f"{OWN}/{name}/v1", one) for name, one in said.items() if one is not None}
    claims[ML_BOM] = Claim(BOM_TYPE, ml_bom(facts))
    return {name: claims[name] for name in EVERY if name in claims}


def _training_data(facts: Facts) -> dict[str, Any] | None:
    if facts.dataset is None or facts.profile is None:
        return None
    numbers = {
        one.name: {"nulls": one.nulls, "minimum": one.minimum, "maximum": one.maximum} for one in facts.profile.numeric
    }
    texts = {
        one.name: {"nulls": one.nulls, **({} if one.hashed else {"distinct": len(one.values)})}
        for one in facts.profile.categories
    }
    columns = [{**to_builtins(one), **(numbers | texts).get(one.name, {})} for one in facts.dataset.columns]
    return {
        "dataset": {**to_builtins(facts.dataset), "columns": columns},
        "run": facts.version.run_id or None,
    }


def _evaluation(facts: Facts) -> dict[str, Any] | None:
    if facts.evaluation is not None:
        curves = {"roc", "precision_recall", "calibration"}
        numbers = {name: value for name, value in to_builtins(facts.evaluation).items() if name not in curves}
        return {"origin": "measured", "digest": facts.evidence.digest, **numbers}
    if not facts.evidence.metrics:
        return None
    values = {name: one.value for name, one in facts.evidence.metrics.items()}
    return {
        "origin": "reported",
        "told_by": facts.evidence.told_by,
        "digest": facts.evidence.digest,
        "bundle_digest": facts.version.bundle_digest,
        "metrics": values,
    }


def _reviews(facts: Facts) -> dict[str, Any]:
    return {
        "policy": None if facts.policy is None else to_builtins(facts.policy),
        "policy_digest": facts.policy_digest,
        "report": None if facts.report is None else to_builtins(facts.report),
        "reviews": to_builtins(facts.reviews),
        "waivers": to_builtins(facts.waivers),
        "permits": to_builtins(facts.permits),
        "signatures": [
            {
                "key": one.key_fingerprint,
                "signature": one.statement_digest,
                "added_by": one.added_by,
                "added_at": to_builtins(one.added_at),
            }
            for one in facts.signatures
        ],
        "audit": None if facts.audit is None else {"sequence": facts.audit[0], "hash": facts.audit[1]},
    }
