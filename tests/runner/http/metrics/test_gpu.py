from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry, generate_latest

from edgepack.runner.gpu.nvml import Look, look_at_cards
from edgepack.runner.http.metrics.gpu import GpuCollector
from tests.runner.gpu.cards import Card, SimulatedNvml


def _text(collector: GpuCollector) -> str:
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode()


def test_cards_are_told_in_base_units_by_their_number() -> None:
    cards = [Card(utilisation=50), Card(reasons=0x44, celsius=83)]
    text = _text(GpuCollector(lambda: look_at_cards(nvml=SimulatedNvml(cards=cards))))
    for line in (
        'edgepack_gpu_utilization_ratio{card="0"} 0.5',
        'edgepack_gpu_memory_total_bytes{card="0"} 2.5769803776e+10',
        'edgepack_gpu_memory_used_bytes{card="1"} 3.145728e+08',
        'edgepack_gpu_temperature_celsius{card="1"} 83.0',
        'edgepack_gpu_power_watts{card="0"} 12.5',
        'edgepack_gpu_clock_hertz{card="0"} 2.1e+08',
        'edgepack_gpu_throttled{card="1",reason="hw_thermal_slowdown"} 1.0',
        'edgepack_gpu_throttled{card="0",reason="hw_thermal_slowdown"} 0.0',
    ):
        assert line in text


def test_what_a_card_does_not_tell_is_left_out() -> None:
    card = Card(unsupported=frozenset({"nvmlDeviceGetPowerUsage"}))
    text = _text(GpuCollector(lambda: look_at_cards(nvml=SimulatedNvml(cards=[card]))))
    assert "edgepack_gpu_power_watts{" not in text
    assert "edgepack_gpu_clock_hertz{" in text
    nothing = SimulatedNvml(init_error=12)
    assert 'card="' not in _text(GpuCollector(lambda: look_at_cards(nvml=nothing)))


def test_a_card_that_does_not_answer_holds_up_one_scrape_and_not_the_next() -> None:
    asked, answer = threading.Event(), threading.Event()

    def hang() -> Look:
        asked.set()
        assert answer.wait(30)
        return look_at_cards(nvml=SimulatedNvml())

    collector = GpuCollector(hang)
    first: list[str] = []
    thread = threading.Thread(target=lambda: first.append(_text(collector)))
    thread.start()
    assert asked.wait(30)
    assert "edgepack_gpu" not in _text(collector)
    answer.set()
    thread.join(30)
    assert "edgepack_gpu_clock_hertz{" in first[0]
