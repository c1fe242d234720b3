"""Shared by all tests."""

from __future__ import annotations

import hypothesis

# CI machines are shared: how long one example takes says nothing about the code.
hypothesis.settings.register_profile("jetspect", deadline=None)
hypothesis.settings.load_profile("jetspect")
