"""Many runs: which are missing, where they are trained, and where their results are kept."""

__all__: list[str] = []
