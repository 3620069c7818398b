"""A store with everything a page shows: two releases, trusted and doubtful boxes, reports."""

from __future__ import annotations

from dataclasses import dataclass

from tests.hub.stores import DAY_MS, NOW_MS, Filler


@dataclass(frozen=True)
class Filled:
    """What was put in."""

    device: str
    report_id: str
    context: str
    before: str
    after: str
    target: str


def fill_hub(fill: Filler, name: str = "kiosk-1", *, text: str = "shop 1") -> Filled:
    """Fills a store; `text` is put wherever a box or a bundle can put one."""
    before = fill.release(f"1.0.0{text}", model=f"session{text}", target=f"arm64{text}")
    after = fill.release(f"1.1.0{text}", model=f"session{text}", target=f"arm64{text}")
    words = {"runtime": f"litert{text}", "runtime_version": f"2{text}", "variant": f"int8{text}"}
    words |= {"precision": f"int8{text}", "provider": f"cpu{text}"}
    old, new = fill.setup(before, **words), fill.setup(after, **words)
    other = fill.setup(after, "tflite-fp32", size_bytes=4_000_000)
    context = fill.context(
        f"Pi 4{text}", model=f"session{text}", facts={"method": {"duration": f"quick{text}"}}
    )
    box = fill.device(
        name, label=text, release_id=after, setup_id=new, box=f"Pi 4{text}", condition="throttled"
    )
    for day in range(6, 0, -1):
        setup = old if day > 3 else new
        report = fill.report(
            box,
            setup,
            created_ms=NOW_MS - day * DAY_MS,
            body=('{"text": "' + text.replace("\\", "").replace('"', '\\"') + '"}').encode(),
            reasons='["short_run"]',
            throttled=day == 2,
            temperature_before_mc=45_000,
        )
        fill.run(report, context, 1_000_000 + day * 1000)
    fill.history(box, old, context, (NOW_MS - 20 * DAY_MS) // DAY_MS)
    for i in range(12):
        each = fill.device()
        fill.standing(each, old, context, 1_000_000 + i * 10_000)
        fill.standing(each, new, context, 1_300_000 + i * 10_000)
        fill.standing(each, other, context, 2_000_000 + i * 10_000)
        fill.standing(each, other, context, 2_000_000, trust="doubtful")
    filled = Filled(
        device=name,
        report_id="00000000-0000-4000-8000-000000000001",
        context=fill.digest(context),
        before=fill.bundle(before),
        after=fill.bundle(after),
        target=f"arm64{text}",
    )
    fill.connect().close()
    return filled
