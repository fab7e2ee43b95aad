"""towpath: any user can be a relay. The public API; see docs/ for what it promises."""

__version__ = "0.1.0"

__all__ = ["__version__"]
