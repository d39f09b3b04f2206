"""`reviews-parsing register`, `sign`, `verify`, `promote`, `rollback`, `models`, `retrain`: versions and champion."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviews_parsing.cli import output
from reviews_parsing.cli.options import AsJson, Domain, Split, read_texts, registered_model

if TYPE_CHECKING:
    from reviews_parsing.pipelines.retraining import Alarms, Deployment
    from reviews_parsing.registry import Version


def promote(
    run_id: Annotated[str | None, typer.Option(help="Run whose model is the challenger.")] = None,
    version: Annotated[str | None, typer.Option(help="Registered version that is the challenger.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote a refused challenger; needs --reason.")] = False,
    reason: Annotated[str, typer.Option(help="Reason for --force; recorded with the version.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only compare; change and record nothing.")] = False,
    domain: Domain = None,
    as_json: AsJson = False,
) -> None:
    """Make a model champion if it passes the gate.

    Challenger and champion are evaluated on the test splits of both and on every reference set. The challenger is
    refused if it is worse on one, lacks a category of the champion, was trained on the reviews, or if they are too few
    to tell.

    Examples:

        reviews-parsing promote --run-id 0a1b2c...

        reviews-parsing promote --version 4 --dry-run

        reviews-parsing promote --version 4 --force --reason "new category VIEW"

        reviews-parsing promote --run-id 0a1b2c... --domain gym
    """
    from reviews_parsing import pipelines

    if (run_id is None) == (version is None):
        raise typer.BadParameter("give one of --run-id and --version")
    if force and not reason:
        raise typer.BadParameter("--force needs --reason")
    if dry_run and version is None:
        raise typer.BadParameter("--dry-run needs --version: a run would first have to be registered")
    name = registered_model(domain)
    verdict = pipelines.promote(run_id=run_id, version=version, force=force, reason=reason, dry_run=dry_run, name=name)
    if as_json:
        output.print_json(output.verdict_form(verdict, dry_run))
    else:
        output.verdict(verdict, dry_run)
        if domain and verdict.promoted and not dry_run:
            output.out.print(f"use it with --model models:/{name}@champion, or REVIEWS_PARSING_MODEL_NAME={name}")
    pipelines.require(verdict)


def register(
    model: Annotated[
        str,
        typer.Argument(help="pretrained, pretrained-fast, a folder, models:/NAME/N or a run's model (runs:/ID)."),
    ] = "pretrained",
    data: Annotated[
        str, typer.Option(help="Labelled reviews to evaluate it on: a file, a folder, or 'corpus'.")
    ] = "corpus",
    split: Split = "test",
    domain: Domain = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model, log that as a run and register it as a new version, without training.

    Examples:

        reviews-parsing register

        reviews-parsing register ./my-model --data my-reviews.jsonl
    """
    from reviews_parsing.pipelines import publish

    with output.progress_bar("registering") as update:
        update(None)
        published = publish(model, data, split, registered_model(domain))
        update(1.0)
    metrics = published.evaluation.metrics()
    if as_json:
        output.print_json({"run_id": published.run_id, "version": published.version, "test": metrics})
        return
    output.scores_table(f"{data}, {split} split, exact match", metrics)
    output.out.print(f"\nrun {published.run_id}")
    option = f" --domain {domain}" if domain else ""
    output.out.print(f"next: reviews-parsing promote --version {published.version}{option}")


def sign(
    model: Annotated[
        str, typer.Argument(help="A model folder, models:/NAME@ALIAS, models:/NAME/N or a run's model (runs:/ID).")
    ],
    as_json: AsJson = False,
) -> None:
    """Sign a model that was registered without a key, or with another one.

    The key is REVIEWS_PARSING_SIGNING_KEY. The signature of a folder is a file beside it, that of a version an artifact
    of its run. With a key, `train` and `register` sign by themselves.

    Examples:

        reviews-parsing sign models:/reviews-parsing-ner-aspects@champion

        reviews-parsing sign ./my-model
    """
    from reviews_parsing import registry

    kept = registry.sign_model(model)
    if as_json:
        output.print_json({"signed": model, "signature": str(kept)})
    else:
        output.out.print(f"signed {model}: {'run ' * isinstance(kept, str)}{kept}", markup=False, soft_wrap=True)


def verify(
    model: Annotated[
        str, typer.Argument(help="A model folder, models:/NAME@ALIAS, models:/NAME/N or a run's model (runs:/ID).")
    ],
    as_json: AsJson = False,
) -> None:
    """Verify the signature of a model by the trust policy, REVIEWS_PARSING_TRUST.

    With a policy, every command and the server do so before they load a model.

    Examples:

        reviews-parsing verify models:/reviews-parsing-ner-aspects@champion

        reviews-parsing verify ./my-model
    """
    from reviews_parsing import registry
    from reviews_parsing.settings import Settings

    policy = Settings().trust
    if policy is None:
        raise typer.BadParameter("set REVIEWS_PARSING_TRUST to a public key, or to a trust policy")
    folder, version = registry.locate(model)
    if as_json:
        output.print_json({"verified": model, "version": version, "folder": str(folder), "policy": str(policy)})
    else:
        output.out.print(f"{model} is signed as {policy} demands", markup=False, soft_wrap=True)


def rollback(domain: Domain = None, as_json: AsJson = False) -> None:
    """Return to the previous champion.

    Example:

        reviews-parsing rollback
    """
    from reviews_parsing import registry

    former, present = registry.rollback(registered_model(domain))
    if as_json:
        output.print_json({"was": former, "champion": present})
    else:
        output.out.print(f"champion is version {present} again (was {former})")


def models(domain: Domain = None, as_json: AsJson = False) -> None:
    """List registered versions with their metrics, aliases and runs.

    Example:

        reviews-parsing models
    """
    from reviews_parsing import registry

    name = registered_model(domain)
    state = registry.read_champion(name)  # completes a promotion that was killed
    registry.mark_killed_runs()
    versions = registry.versions(name)
    if as_json:
        output.print_json([asdict(version) for version in versions])
        return
    _print_versions(versions, state.rolled_back)


def retrain(
    data: Annotated[
        str, typer.Argument(help="Labelled reviews to train on, besides the corrections: as in `train`.")
    ] = "corpus",
    every: Annotated[str | None, typer.Option(help="Train when the last training is older: 12h, 30d.")] = None,
    corrections: Annotated[
        int | None, typer.Option(min=1, help="Train after this number of approved corrections since the last time.")
    ] = None,
    drift: Annotated[
        str | None,
        typer.Option(
            help="Train when the traffic of this window has drifted from the training data: 24h, 1d. Without a folder "
            "of traffic: when the drift alert has been active in Prometheus (PROMETHEUS_URL) for this time."
        ),
    ] = None,
    traffic: Annotated[
        Path | None, typer.Option(help="Folder of the traffic for --drift. Default: REVIEWS_PARSING_TRAFFIC.")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Train without a trigger.")] = False,
    store: Annotated[
        Path | None, typer.Option(help="File of corrections. Default: corrections.db in the home folder.")
    ] = None,
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option(help="Reviews without labels to learn from, as in `train`: traffic that you keep; repeatable."),
    ] = None,
    canary: Annotated[
        int | None,
        typer.Option(
            min=0, max=99, help="Roll out the challenger as a canary with this percentage of the requests; 0: dark."
        ),
    ] = None,
    approve: Annotated[str | None, typer.Option(help="Approve the version that waits, and continue.")] = None,
    reject: Annotated[str | None, typer.Option(help="Reject the version that waits, and end the retraining.")] = None,
    reason: Annotated[str, typer.Option(help="Reason for --approve or --reject, such as your name.")] = "",
    backbone: Annotated[str | None, typer.Option(help="As in `train`.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="As in `train`.")] = None,
    foundation: Annotated[str | None, typer.Option(help="As in `train`.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="As in `train`.")] = None,
    domain: Domain = None,
    as_json: AsJson = False,
) -> None:
    """Retrain the model if a trigger fires, and promote the result if it passes the gate.

    For a scheduler: a call does nothing without a trigger and resumes a killed one; a lease lets one call work at a
    time. After the gate has refused a version, it waits for new approved corrections. With
    REVIEWS_PARSING_APPROVAL=true a version that passed the gate waits for --approve.

    Examples:

        reviews-parsing retrain --corrections 50 --every 30d

        reviews-parsing retrain --drift 1d --traffic traffic --canary 10

        reviews-parsing retrain --every 30d --unlabelled kept-reviews.csv

        reviews-parsing retrain --approve 7 --reason "Ada: looked at the mistakes"
    """
    from reviews_parsing import pipelines
    from reviews_parsing.settings import Settings
    from reviews_parsing.training.fit import Recipe

    if approve and reject:
        raise typer.BadParameter("give one of --approve and --reject")
    triggers = pipelines.Triggers(
        _period(every, "--every"), corrections, _period(drift, "--drift"), traffic, _alarms(), now
    )
    if not (approve or reject or now or any((every, corrections, drift))):
        raise typer.BadParameter("give a trigger: --every, --corrections, --drift or --now")
    options: dict[str, Any] = {"backbone": backbone, "epochs": epochs, "foundation": foundation, "seed": seed}
    recipe = Recipe(**{key: value for key, value in options.items() if value is not None})
    decision = pipelines.Decision(approve or reject or "", bool(approve), reason) if approve or reject else None
    with ExitStack() as stack:
        update = stack.enter_context(output.progress_bar("retraining"))
        outcome = pipelines.retrain(
            data,
            recipe,
            triggers,
            store=store,
            unlabelled=[str(file) for file in unlabelled or ()],
            read_texts=read_texts,
            deployment=_deployment(canary, stack),
            approval=Settings().approval,
            decision=decision,
            model_name=registered_model(domain),
            progress=output.epoch_progress(update),
            report=output.print_line,
        )
    if as_json:
        output.print_json(asdict(outcome))
    else:
        output.out.print(f"{outcome.step}: {outcome.reason}", markup=False, soft_wrap=True)


def _print_versions(versions: Sequence[Version], rolled_back: Sequence[str]) -> None:
    """Print registered versions, newest first, in at most 100 columns, and below them the decisions about them."""
    if not versions:
        output.out.print("no versions yet: reviews-parsing register, or train")
        return
    rows = [
        [
            version.version,
            ", ".join(version.aliases),
            *(version.tags.get(f"test_{key}", "") for key in ("aggregated_f1", "span_f1", "with_polarity_f1")),
            datetime.fromtimestamp(version.created / 1000).strftime("%Y-%m-%d %H:%M"),
            version.run_id,
        ]
        for version in versions
    ]
    output.table("", ["version", "alias", "F1", "span", "polarity", "created", "run"], rows)
    decisions = [f"version {version.version}: {gate}" for version in versions if (gate := version.tags.get("gate"))]
    decisions += [f"version {version}: rolled back, not offered again" for version in reversed(rolled_back)]
    if decisions:
        output.out.print("\nDecisions")
    for decision in decisions:
        output.out.print(decision, markup=False)


def _deployment(canary: int | None, stack: ExitStack) -> Deployment | None:
    if canary is None:
        return None
    from reviews_parsing.rollout import CanaryDeployment, Prometheus, Service
    from reviews_parsing.settings import Settings

    settings = Settings()
    service = stack.enter_context(Service(settings.service, settings.namespace))
    prometheus = Prometheus(settings.prometheus_url, settings.namespace) if settings.prometheus_url else None
    return CanaryDeployment(service, canary, report=output.print_line, prometheus=prometheus)


def _alarms() -> Alarms | None:
    """Return the alarms of drift in Prometheus, None if no Prometheus is configured."""
    from reviews_parsing.errors import DataError
    from reviews_parsing.rollout.prometheus import Prometheus, PrometheusUnavailable
    from reviews_parsing.settings import Settings

    settings = Settings()
    if not settings.prometheus_url:
        return None
    prometheus = Prometheus(settings.prometheus_url, settings.namespace)

    def alarms(version: str) -> Mapping[str, float]:
        try:
            return prometheus.drift_seconds(version)
        except PrometheusUnavailable as error:
            raise DataError(str(error)) from error

    return alarms


def _period(text: str | None, option: str) -> timedelta | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text.strip())
    if match is None:
        raise typer.BadParameter(f"{option}: {text!r} is no period; write 90m, 24h or 30d")
    try:
        return timedelta(**{{"m": "minutes", "h": "hours", "d": "days"}[match[2]]: float(match[1])})
    except OverflowError:
        raise typer.BadParameter(f"{option}: {text!r} is too long") from None
