"""What NVML says of a real card, as far as it can be known to be plausible."""

from __future__ import annotations

import json

from edgepack.formats.typed import check_value, to_plain
from edgepack.runner.bench.gpu import gpu_facts
from edgepack.runner.gpu.fit import Verdict, version_numbers
from edgepack.runner.gpu.needs import MINIMUM_CAPABILITY, MINIMUM_DRIVER

_MIB = 2**20


def test_the_verdict_names_a_card_that_exists(verdict: Verdict) -> None:
    look = verdict.look
    if look.trouble == "no_package":
        # Then files alone were looked at, and the verdict says so.
        assert "nvidia-ml-py" in verdict.unknown[0]
        return
    assert verdict.card is not None
    assert verdict.gpu is not None
    assert version_numbers(look.driver_version) >= MINIMUM_DRIVER
    assert version_numbers(look.cuda_version) >= (12, 0)
    for card, state in zip(look.cards, look.states, strict=True):
        assert card.name
        assert version_numbers(card.compute_capability) >= MINIMUM_CAPABILITY
        assert card.memory_total is not None
        assert card.memory_total > 1024 * _MIB
        assert state.memory_used is not None
        assert state.memory_free is not None
        assert 0 <= state.memory_used + state.memory_free <= card.memory_total
        assert state.temperature_mc is None or 0 < state.temperature_mc < 120_000
        assert state.power_mw is None or 0 < state.power_mw < 2_000_000
        assert state.utilisation is None or 0 <= state.utilisation <= 1
        if state.sm_clock_mhz is not None and card.sm_clock_max_mhz is not None:
            assert 0 < state.sm_clock_mhz <= card.sm_clock_max_mhz


def test_every_null_has_a_reason_and_the_facts_fit_the_report(verdict: Verdict) -> None:
    facts, reason = gpu_facts(verdict.look)
    if facts is None:
        assert "nvidia-ml-py" in reason
        return
    plain = json.loads(json.dumps(to_plain(facts)))
    assert check_value(type(facts), plain, "gpu") == []
    for part in (*verdict.look.cards, *verdict.look.states):
        document = to_plain(part)
        nulls = {name for name, value in document.items() if value is None}
        assert nulls == set(document["missing"])
    text = json.dumps(plain).lower()
    assert "gpu-" not in text, "a UUID begins so"
    assert "serial" not in text
