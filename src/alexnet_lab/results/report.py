"""REPORT.md: each exercise's question, what was measured, and on which machine."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from platform import python_version
from typing import Any

import pandas as pd

from alexnet_lab.params.claims import Topics
from alexnet_lab.params.study import Study
from alexnet_lab.results.claims import VERDICTS, Ledger, facts
from alexnet_lab.results.explore import leaves, setting
from alexnet_lab.results.sections import Section
from alexnet_lab.results.tables import asides_table, claims_table, frame, markdown, verdict_counts

DATA = {"official": "official (every file checked by SHA-256)", "sample": "the sample in git"}
SHOWN = 2  # tables of an exercise that are not folded
PICTURES = {  # what those of claims.yaml show
    "augmentation_ops": "what each operation does to the same images",
    "loss_and_rate": "loss, and the learning rate beneath it, by epoch",
    "filters": "the first layer's filters after training, of one run each",
    "layer_gradients": "the gradient's norm by layer and epoch",
}


def report(
    study: Study, sections: Sequence[Section], topics: Topics, remarks: Sequence[str]
) -> str:
    """The whole report as Markdown; what the text says that is not for measuring ends it."""
    asides = tuple(aside for topic in topics.values() for aside in topic.asides)
    banner = "\n".join(f"> **{remark}**\n>" for remark in remarks).removesuffix("\n>")
    parts = [
        "# AlexNet Lab: what was measured",
        banner,
        _verdicts(all_claims(sections), of_the_study=not remarks),
        f"![{'. '.join(section.finding for section in mains(sections))}.](plots/overview.png)",
        markdown(glance(sections)),
        *(
            _section(each, study)
            for section in mains(sections)
            for each in (section, *controls(section, sections))
        ),
        *(["## Said, not for measuring", markdown(asides_table(asides))] if asides else []),
        "## Made with",
        "\n".join(f"- {name}: {value}" for name, value in made_of(study).items()),
        "Written by the `report` stage; do not edit.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def all_claims(sections: Sequence[Section]) -> Ledger:
    """Every claim of the text by its id."""
    return {key: found for section in sections for key, found in section.ledger.items()}


def _verdicts(ledger: Ledger, of_the_study: bool) -> str:
    """One line that says how many of the text's claims hold."""
    if not ledger:
        return ""
    if not of_the_study:
        return "The text's claims are checked below, although these runs are not its setting."
    counts, behind = verdict_counts(ledger), facts(ledger)
    words = ", ".join(f"**{counts[v]} {v}** ({len(behind[v])})" for v in VERDICTS if counts[v])
    all_facts = len(set().union(*behind.values()))
    return (
        f"The original text makes {len(ledger)} claims that can be measured, of {all_facts} "
        f"facts: {words}; in brackets how many of the facts, where one with claims of "
        "several verdicts counts under each."
    )


def glance(sections: Sequence[Section]) -> pd.DataFrame:
    """One row per exercise: its question, the answer in brief, how many claims hold.

    The claims that its controls test count with it.
    """
    rows = []
    for section in mains(sections):
        tested = verdict_counts(all_claims([section, *controls(section, sections)]))
        question = section.topic.question or section.name
        counts = {verdict: count or None for verdict, count in tested.items()}
        rows.append({"question": question, "measured": section.brief, **counts})
    return frame(rows, "question").dropna(axis=1, how="all")  # verdicts that none has


def mains(sections: Sequence[Section]) -> list[Section]:
    """The exercises without their controls."""
    return [section for section in sections if not section.topic.under]


def controls(section: Section, sections: Sequence[Section]) -> list[Section]:
    """The controls that stand under an exercise."""
    return [other for other in sections if other.topic.under == section.name]


def _section(section: Section, study: Study) -> str:
    name, topic = section.name, section.topic
    heading = f"## {section.name.capitalize()}"
    if topic.under:
        heading = f"### Control of {topic.under}: {section.name}"
    more = "\n\n".join(map(markdown, section.tables[SHOWN:]))
    says = PICTURES.get(topic.picture, topic.picture)
    what_if = f" What if? `dvc exp run -S '{topic.what_if}'` ([then](docs/what-ifs.md#what-moved))."
    parts = [
        heading,
        topic.question,
        f"**{section.headline}** {section.answer}",
        f"{setting(study, name)}." if name in study.exercises else "",
        f"![{section.name}: {section.finding}](plots/{section.name}.png)",
        *map(markdown, section.tables[:SHOWN]),
        f"<details><summary>More tables</summary>\n\n{more}\n\n</details>" if more else "",
        f"![{section.name}: {says}](plots/{topic.picture}.png)" if topic.picture else "",
        section.how_sure,
        markdown(claims_table(section.ledger)) if section.ledger else "",
        f"Measured on {section.measured_on}.{what_if if topic.what_if else ''}",
    ]
    return "\n\n".join(part for part in parts if part)


def ledger(sections: Sequence[Section]) -> dict[str, Any]:
    """Every claim's entry in metrics/claims.json, by its id."""
    return {key: finding.row() for key, finding in all_claims(sections).items()}


def made_of(study: Study) -> dict[str, str]:
    """The data, the seeds, and the versions that this report was written with.

    A run may have been made elsewhere, with other versions: they are in its epochs' names.
    """
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scipy"))
    return {
        "data": DATA[study.data.source],
        "seeds": "; ".join(
            f"{name} {', '.join(map(str, study.seeds_of(name)))}" for name in study.exercises
        ),
        "this report (of runs: metrics/timing)": f"{packages}, Python {python_version()}",
    }


def remarks(study: Study, topics: Topics) -> list[str]:
    """What a reader must know before the first number."""
    lines, overridden = [], study.overridden
    if study.data.source == "sample":
        lines.append("Results on the sample in git (2,000 training images), not on the full data.")
    if overridden:
        what = ", ".join(f"{key} = {value:g}" for key, value in overridden.items())
        lines.append(f"A what-if: every training exercise was overridden with {what}.")
    if held_back := study.data.held_back:
        lines.append(f"{held_back:,} training images are held back: no run learns from them.")
    if others := ", ".join(_other_settings(study, topics)):
        lines.append(f"Not the text's setting, which its claims are about: {others}.")
    return lines


def _other_settings(study: Study, topics: Topics) -> Iterator[str]:
    """Where an exercise's recipes, or what the benchmark times, are not the text's."""
    settings = {name: list(each.variants.values()) for name, each in study.exercises.items()}
    for name, found in ({"benchmark": [study.benchmark]} | settings).items():
        trees = [leaves(each.model_dump(mode="json")) for each in found]
        for key, value in topics[name].setting.items() if name in topics else ():
            values = [tree.get(key) for tree in trees]
            if others := {f"{other}" for other in values if other != value}:
                yield f"{name} has {key} {' and '.join(sorted(others))}, the text {value}"
