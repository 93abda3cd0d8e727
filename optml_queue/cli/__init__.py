"""The command line: `optml-submit SPEC` and the verbs of `optml`.

Modules here import the rest of the package inside the commands that need it, so that `optml --help` and a typing
mistake cost no more than Typer itself.
"""
