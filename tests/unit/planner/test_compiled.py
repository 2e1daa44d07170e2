"""What is compiled is compiled again when any file of the planner changes."""

import numpy as np

from fleetopt.planner import compiled as module


def twice(value):
    return 2 * value


def test_compiled_code_is_kept_for_the_same_sources_only(monkeypatch, tmp_path):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    assert module.compiled()(twice)(np.float64(2.0)) == 4.0
    again = module.compiled()(twice)
    assert again(np.float64(3.0)) == 6.0
    assert sum(again.stats.cache_hits.values()) == 1
    monkeypatch.setattr(module, "_SOURCES", "of other files")
    changed = module.compiled()(twice)
    assert changed(np.float64(3.0)) == 6.0
    assert sum(changed.stats.cache_hits.values()) == 0
