"""The commands behind `winnow.cli`."""
