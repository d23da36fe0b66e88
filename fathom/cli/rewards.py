"""`fathom rewards`: what the rewards pay for."""

from typing import Annotated, Literal

import typer

app = typer.Typer(help="Look into the rewards of reinforcement learning.", no_args_is_help=True)


@app.callback()
def rewards() -> None:
    """Look into the rewards of reinforcement learning."""


@app.command()
def audit(
    gate: Annotated[
        Literal["format", "protocol", "none"],
        typer.Option(help="Pay if the whole format holds, if the tool was used correctly, or always (as released)."),
    ] = "format",
    repeats: Annotated[bool, typer.Option("--repeats", help="Count a repeated preference as a call again (as released).")] = False,
    encoder: Annotated[str, typer.Option(help="Text encoder that says how alike preferences are.")] = "hashing",
) -> None:
    """Play known cheats through the environment and show what each earns, part by part, and which of them pay."""
    from rich.console import Console
    from rich.table import Table

    from fathom.agents.audit import audit as play_tricks
    from fathom.agents.rewards import RememberedTexts, RewardSettings
    from fathom.items.encoders import encoder as encoder_named

    found = play_tricks(RememberedTexts(encoder_named(encoder).encode), RewardSettings(gate=gate, count_repeats=repeats))
    table = Table(title="What each way to play earns", caption="A trick pays where it earns more than the honest reference.")
    table.add_column("way to play")
    columns = [(stage, part) for stage, parts in found[0].earned.items() for part in parts]
    for stage, part in columns:
        table.add_column(f"{stage}\n{part}", justify="right")
    table.add_column("faults")
    table.add_column("pays in")
    for verdict in found:
        numbers = [f"{round(verdict.earned[stage][part], 2) + 0.0:.2f}" for stage, part in columns]  # + 0.0: no '-0.00'
        verdict_pays = ", ".join(verdict.pays)
        table.add_row(verdict.trick.name, *numbers, ", ".join(verdict.episode.faults), verdict_pays, style="red" if verdict_pays else None)
    console = Console()
    console.print(table)
    for verdict in found:
        console.print(f"  {verdict.trick.name}: {verdict.trick.what}", markup=False, highlight=False)
    paying = [verdict for verdict in found if verdict.pays]
    console.print(
        f"{len(paying)} of {len(found) - 1} tricks pay{': ' if paying else '.'}" + ", ".join(verdict.trick.name for verdict in paying)
    )
