from __future__ import annotations

from edgepack.hub.intake.rates import RateLimiter


class _Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_burst_is_let_through_and_then_so_many_a_minute() -> None:
    clock = _Clock()
    rates = RateLimiter(60, 3, clock)
    assert [rates.wait_s("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert rates.wait_s("a") == 1.0
    assert rates.wait_s("b") == 0.0
    clock.now_s = 1.0
    assert rates.wait_s("a") == 0.0
    assert rates.wait_s("a") == 1.0


def test_a_full_bucket_lets_more_than_a_burst_through_once() -> None:
    clock = _Clock()
    rates = RateLimiter(60, 3, clock)
    assert rates.wait_s("a", 5) == 0.0
    assert rates.wait_s("a") == 3.0


def test_only_so_many_keys_are_remembered() -> None:
    rates = RateLimiter(60, 1, _Clock(), most_keys=2)
    for key in "abc":
        assert rates.wait_s(key) == 0.0
    assert rates.wait_s("c") > 0
    assert rates.wait_s("a") == 0.0
