"""``thalweg theory``: check a statement of the theory."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from thalweg.cli.console import finish, print_facts, print_json, print_sentence, print_table
from thalweg.cli.options import Json
from thalweg.theory import Finding, Statement, statements

Picture = Annotated[
    Path | None,
    typer.Option(
        "--picture", metavar="FILE", help="Draw the charts into this .png, .svg or .pdf file."
    ),
]


def theory_app() -> typer.Typer:
    """Make the command with one subcommand for each statement."""
    app = typer.Typer(
        invoke_without_command=True,
        no_args_is_help=False,
        help="Check a statement of the theory. Exit status: 0 it held, 3 it did not, 2 bad input.",
    )

    @app.callback()
    def _list(
        context: typer.Context,
        listed: Annotated[
            bool, typer.Option("--list", help="List the statements (also without arguments).")
        ] = False,
        json: Json = False,
    ) -> None:
        if listed or context.invoked_subcommand is None:
            show_statements(json=json)
            raise typer.Exit

    for statement in statements():
        app.command(
            statement.name,
            help=f"{statement.claim} ({statement.source})",
            epilog=f"Example:  thalweg theory {statement.name} --json",
        )(_command(statement))
    return app


def show_statements(*, json: bool) -> None:
    """Print names, sources and claims of all statements.

    Args:
        json: as one JSON document.
    """
    listed = statements()
    if json:
        names = ("name", "source", "claim")
        print_json({"statements": [{n: getattr(each, n) for n in names} for each in listed]})
        return
    print_table(
        ("statement", "claim that is checked", "source"),
        ((each.name, each.claim, each.source) for each in listed),
    )


def show(finding: Finding, *, json: bool) -> None:
    """Print a finding.

    Args:
        finding: what was found.
        json: as one JSON document.
    """
    if json:
        print_json(finding.values)
        return
    print_sentence(finding.sentence, good=finding.holds)
    print_facts([(name, _words(value)) for name, value in finding.values.items()])


def _command(statement: Statement) -> Callable[..., None]:
    """A function whose options are the arguments of the statement's check."""

    def run(json: bool, picture: Path | None, **options: Any) -> None:
        finding = statement.check(**options)
        if picture is not None:
            from thalweg.plots.charts import save_charts

            save_charts(finding.charts, picture)
        show(finding, json=json)
        finish(negative=not finding.holds)

    parameters = [
        *_options(statement.check),
        _parameter("picture", Picture, None),
        _parameter("json", Json, False),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__name__ = statement.name
    return run


def _options(check: Callable[..., Finding]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(check, include_extras=True)
    for name, parameter in inspect.signature(check).parameters.items():
        kind, help_text = get_args(hints[name])
        yield _parameter(name, Annotated[kind, typer.Option(help=help_text)], parameter.default)


def _parameter(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )


def _words(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_words(each) for each in value) or "none"
    return str(value)
