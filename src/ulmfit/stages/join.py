"""Models trained apart become one, whose members answer together: directions, or several seeds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ulmfit.config.artefact import ArtefactConfig, Member, Task
from ulmfit.config.conversions import JoinConfig
from ulmfit.errors import ArtefactError, ConfigError
from ulmfit.models.folder import check_replaceable, read_config, resolve
from ulmfit.models.saving import save_model
from ulmfit.models.weights import restore
from ulmfit.stages.record import with_record
from ulmfit.text.tokenizer import Tokenizer


def join(config: JoinConfig, *, quiet: bool = False) -> Path:
    """Write one model of the members of all that `config` names; return its folder.

    A classifier's temperature and thresholds were fitted to other averages, and are left out.

    Raises `ConfigError` for fewer than two models, `ArtefactError` if they do not fit together or
    the output is taken.
    """
    if len(config.models) < 2:
        raise ConfigError(
            f"setting 'models': found {len(config.models)}; joining takes two or more"
        )
    output = Path(config.output)
    if output.exists():
        check_replaceable(output.resolve(), config.overwrite)
    folders = [resolve(name) for name in config.models]
    configs = [read_config(folder) for folder in folders]
    for folder, each in zip(folders, configs, strict=True):
        if each.kind not in ("language_model", "text_classifier"):
            raise ArtefactError(
                f"{folder}: holds a {each.kind}; join language models or text classifiers"
            )
    for folder, each in zip(folders[1:], configs[1:], strict=True):
        _check_alike(folders[0], configs[0], folder, each)
    members, tensors = _members(folders, configs)
    task = configs[0].task
    joined = replace(
        configs[0],
        members=tuple(members),
        task=None if task is None else _uncalibrated(task),
        storage=config.storage or configs[0].storage,
        run=_records([each.run for each in configs]),
    )
    tokenizer = Tokenizer.from_json((folders[0] / "tokenizer.json").read_bytes(), joined.tokenizer)
    save_model(output, joined, tensors, tokenizer, overwrite=config.overwrite)
    if not quiet and any(each.task != joined.task for each in configs):
        print(
            "ulmfit: warning: temperature and thresholds were fitted to each model alone and are "
            "left out; `ulmfit calibrate` fits them to the joined one",
            file=sys.stderr,
        )
    return output


def _check_alike(
    first: Path, expected: ArtefactConfig, folder: Path, found: ArtefactConfig
) -> None:
    """Refuse a model that cannot share a folder with the first."""
    others = _common(found)
    for name, ours in _common(expected).items():
        if others[name] != ours:
            raise ArtefactError(
                f"{folder}: its {name} is {others[name]}, that of {first} {ours}; join models "
                "that have it in common"
            )


def _common(config: ArtefactConfig) -> dict[str, str]:
    """Return what the members of a folder have in common, for people to read."""
    tokenizer = config.tokenizer
    found = {
        "kind": config.kind,
        "tokenizer": f"{tokenizer} {config.files['tokenizer.json'].sha256[:16]}",
        "encoder": str(config.encoder),
        "head": str(config.head),
    }
    if (task := config.task) is not None:
        found["task"] = f"{task.kind} {', '.join(task.labels) or task.range}"
    return found


def _uncalibrated(task: Task) -> Task:
    return replace(task, temperature=1.0, thresholds=None)


def _members(
    folders: Sequence[Path], configs: Sequence[ArtefactConfig]
) -> tuple[list[Member], dict[str, Tensor]]:
    """Return all members, their prefixes made unlike, and their tensors."""
    members: list[Member] = []
    tensors: dict[str, Tensor] = {}
    for folder, config in zip(folders, configs, strict=True):
        stored = restore(folder / "model.safetensors")
        for member in config.members:
            taken = sum(other.direction == member.direction for other in members)
            prefix = f"{member.direction}_{taken + 1}" if taken else member.direction
            members.append(replace(member, prefix=prefix))
            own = f"{member.prefix}."
            tensors |= {
                f"{prefix}.{name.removeprefix(own)}": tensor
                for name, tensor in stored.items()
                if name.startswith(own)
            }
    return members, tensors


def _records(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the records of all models: those of two directions of one run as one."""
    joined = dict(runs[0])
    for run in runs[1:]:
        for stage, record in run.items():
            there = joined.get(stage)
            if there == record:
                continue
            if there is not None and _of_two_directions(there, record):
                settings = {**record["settings"], "directions": "both"}
                results = {**there["results"], **record["results"]}
                joined[stage] = {**there, "settings": settings, "results": results}
            else:
                joined = with_record(joined, stage, record)
    return joined


def _of_two_directions(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Tell whether two records are of the same training, once forward and once backward."""
    directions = {str(each.get("settings", {}).get("directions")) for each in (first, second)}
    if directions != {"forward", "backward"}:
        return False
    return _but_direction(first) == _but_direction(second)


def _but_direction(record: dict[str, Any]) -> dict[str, Any]:
    """Return what two directions of the same training have in common."""
    return {**record, "settings": {**record["settings"], "directions": None}, "results": None}
