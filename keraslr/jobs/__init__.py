"""Many jobs: their names, where they run, and where their results are kept."""

__all__: list[str] = []
