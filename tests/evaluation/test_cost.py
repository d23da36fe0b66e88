import numpy as np

from fathom.evaluation.cost import peak_megabytes


def test_memory_is_counted_in_mebibytes_and_never_falls():
    before = peak_megabytes()
    held = np.ones(2**24)  # 128 MiB
    after = peak_megabytes()
    del held
    assert 10 < before <= after < 1e6
    assert peak_megabytes() >= after
