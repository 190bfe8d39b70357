"""The one difference that shows each exercise's answer: one picture of all, a guess at each."""

import math
from collections.abc import Sequence
from html import escape

from alexnet_lab.results.pieces import Track, draw, signed
from alexnet_lab.results.sections import Section
from alexnet_lab.results.statistics import Estimate


def effects(sections: Sequence[Section], with_text: bool) -> str:
    """The first picture: the text's effects and ours; those in points are on one scale."""
    found = {section.name: _main_effect(section) for section in sections}
    tracks = [Track(e[0], text=e[1]) for e in found.values() if e and e[2] != "×"]
    scale = [number for track in tracks for number in track.numbers]
    rows = (_effect(section, with_text, scale) for section in sections)
    return "".join(rows)


def _effect(section: Section, with_text: bool, scale: Sequence[float]) -> str:
    """One row of the first picture: the text's effect and ours, around zero."""
    found = _main_effect(section)
    if not found:
        return ""
    ours, text, unit = found
    text = text if with_text else None
    said = "" if text is None else f"the text {signed(text, unit)}, "
    words = f"{said}ours {signed(ours.mean, unit)}"
    if not math.isnan(ours.low):
        words += f" ({signed(ours.low, unit).split()[0]} to {signed(ours.high, unit).split()[0]})"
    track = Track(ours, text=text, zero=unit != "×")
    effect = section.topic.effect
    pair = (
        " − ".join(filter(None, [effect.of, effect.less]))
        if effect and effect.less
        else "GPU ÷ CPU"
    )
    line = draw(track, f"{section.name}: {words}", [0] if unit == "×" else scale)
    return (
        f'<li><a href="#{section.name}">{section.name.capitalize()}</a> <small>{escape(pair)}'
        f"</small>{line}<span class='secret'>{words}</span></li>"
    )


def _main_effect(section: Section) -> tuple[Estimate, float | None, str] | None:
    """The one difference that shows the answer: ours, the text's, the unit."""
    effect = section.topic.effect
    if effect is None or math.isnan(section.effect.mean):
        return None
    if section.name == "benchmark":
        return section.effect, section.topic.stated("speed_up").get(effect.of), "×"
    stated = section.topic.stated("final_accuracy")
    both = {effect.of, effect.less} <= {*stated}
    return section.effect, stated[effect.of] - stated[effect.less] if both else None, " points"


def guess(section: Section) -> str:
    """The question to guess at, and three answers; each opens to say whether it is right."""
    effect, found = section.topic.effect, _main_effect(section)
    if not effect or not effect.cuts or not found:
        return ""
    low, high = effect.cuts
    place = (found[0].mean >= low) + (found[0].mean > high)
    options = (f"less than {low:g}", f"{low:g} to {high:g}", f"more than {high:g}")
    ours = f"We measured {signed(found[0].mean, found[2])}."
    choices = "".join(
        f'<details name="guess-{section.name}"><summary>{option.replace("-", "−")}</summary>'
        f"<p>{'✓ Right.' if i == place else '✗ No.'} {ours}</p></details>"
        for i, option in enumerate(options)
    )
    return f'<div class="guess"><p><b>Guess first.</b> {escape(effect.ask)}</p>{choices}</div>'
