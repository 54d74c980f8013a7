"""The lab as a notebook sees it: `open_lab` opens it, and `Lab` offers every tool."""
