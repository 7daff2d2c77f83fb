"""Whether the options with which a bundle would be run again are those of the run it holds."""

from __future__ import annotations

from typing import Any

from cryorepro.bundle.facts import Facts
from cryorepro.workflow.options import EVERY_STAGE

_SAME = ("tier", "seed", "data_seed", "threads", "device", "executor")


def option_problems(facts: Facts) -> list[str]:
    """One sentence for each option that the journal contradicts."""
    options, settings = facts.info.options, facts.settings
    found = [_told(name, getattr(options, name), settings[name]) for name in _SAME]
    found.append(_told("data_path", options.data_path, None))
    found.append(_told("data_parameters", options.data_parameters, settings["tier_parameters"]))
    for stage in facts.benchmark.stages:
        chosen = options.runners.get(stage.name) or stage.runner or options.runners.get(EVERY_STAGE)
        runner = chosen or facts.benchmark.default_runner
        found.append(_told(f"runners.{stage.name}", runner, settings["runners"].get(stage.name)))
    for stage_name, overrides in options.overrides.items():
        used = settings["parameters"].get(stage_name, {})
        found += [_told(f"overrides.{stage_name}.{key}", value, used.get(key)) for key, value in overrides.items()]
    return [text for text in found if text]


def _told(name: str, option: Any, recorded: Any) -> str | None:
    if option == recorded:
        return None
    return f"bundle.json: option '{name}' is {option!r:.60} and the journal says {recorded!r:.60}"
